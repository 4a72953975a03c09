"""One call that says whether to trust a fit."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scruot._checks import check_seed, whole
from scruot._keys import CROSS_VALIDATION, fate_slots, slots
from scruot.io.store import check_writable, plain, writable
from scruot.tl import _diagnosis as check
from scruot.tl._diagnosis_fates import fates as check_fates
from scruot.tl._fate_calibration import calibrated
from scruot.tl._fitted import FittedCells, read_fitted, stored_mass
from scruot.tl._groups import read_groups
from scruot.tl._refits import Refits, changed_params

logger = logging.getLogger(__name__)

_NULLS = ("linear", "previous", "next")
_FLOOR = "noise floor"


def diagnose(
    adata: AnnData,
    *,
    key: str | None = None,
    groupby: str | None = None,
    fates_key: str | None = None,
    fates_truth: str | None = None,
    compute: bool = False,
    n_cells: int = 2000,
    random_state: int = 0,
    device: str = "auto",
    progress: bool = False,
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Say whether to trust a fit: one table with a verdict and a remedy per line.

    Reads what :func:`scruot.tl.evaluate`, :func:`scruot.tl.cross_validate` and
    :func:`scruot.tl.fate_probabilities` have stored; what is missing is named, with the call that
    gives it. An evaluation is made where there is none (a simulation, no fit).

    Parameters
    ----------
    adata
        Cells with a fit.
    key
        ``key_added`` of the fit.
    groupby
        Column of ``obs`` with groups, e.g. cell types, whose populations are compared.
    fates_key
        ``key_added`` of the fates.
    fates_truth
        Known fates of some cells, as in :func:`scruot.tl.fate_calibration`: probabilities are then
        compared with what came true, and ``uns["fate_calibration"]`` is written, too. By default
        that entry is read, where it is.
    compute
        Whether to make what is missing by fitting again, with the parameters of the fit: once on
        half of the cells, and once for every middle time, which is left out. The fit itself is not
        changed.
    n_cells
        Distances are computed on a random subset of at most this many cells per cloud.
    random_state
        Seed of subsets, noise and fits.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    progress
        Whether to show progress bars of fits.
    copy
        Whether to return a copy of ``adata`` with the table instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy. It is written to ``adata.uns["dynamics_diagnosis"]``
    and has one row per check:

    ``check`` : str
        ``"observed cells"``, ``"held-out cells"``, ``"held-out times"``, ``"population"``,
        ``"mass per group"``, ``"action / floor"``, ``"effective cells"``, ``"growth: level"``,
        ``"growth: differences"``, ``"couplings"``, ``"fates: progenitors"``, ``"fates: lost"``,
        ``"fates: early cells"``, ``"fates: calibration"``, ``"fates: skill"``.
    ``value`` : float
        The figure; NaN for a check that is no number or was not made.
    ``good``, ``bad`` : float
        Up to the first limit the verdict is good, beyond the second bad; where the first is the
        larger one, large figures are good.
    ``verdict`` : str
        ``"good"``, ``"doubtful"``, ``"bad"`` or ``"not checked"``.
    ``finding``, ``remedy`` : str
        What was found, and what would help.

    Raises
    ------
    KeyError
        When there is no such fit, fates or column.
    ValueError
        For a parameter out of range, or when the representation has changed since the fit.

    See Also
    --------
    scruot.pl.diagnose : the table as a picture.

    References
    ----------
    Weinreb, Wolock, Tusi, Socolovsky and Klein (2018), PNAS 115, E2467-E2476 :cite:p:`weinreb2018`:
    what snapshots can tell. Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`:
    left-out times beside nulls.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> table = scruot.tl.diagnose(adata, groupby="lineage", n_cells=200)
    >>> table.set_index("check").loc["growth: level", "verdict"]
    'doubtful'
    """
    random_state = check_seed(random_state)
    whole("n_cells", n_cells)
    check_writable(adata, copy=copy)
    cells = read_fitted(adata, key, device)
    if groupby is not None:
        read_groups(adata, groupby)
    record = _fates(adata, fates_key)
    curve = _calibration(adata, fates_key, fates_truth)
    scoring = {"n_cells": n_cells, "random_state": random_state, "device": device}
    made = Refits(adata, cells, key, groupby, scoring)
    evaluation = made.evaluation()
    held_out, folds = evaluation["table"], _stored_folds(adata, cells)
    times = _left_out(evaluation["table"])
    if compute:
        if not (held_out["split"] == "held-out cells").any():
            held_out = made.half(progress=progress)
        if not len(times) and folds is None and len(cells.model.times) > 2:
            folds = made.folds(progress=progress)
    if not len(times) and folds is not None:
        times = _fold_rows(folds)
    rows = _rows(adata, cells, evaluation, held_out, times, key)
    rows += check_fates(record, curve)
    table = pd.DataFrame([asdict(row) for row in rows])
    written = writable(adata, copy=copy)
    written.uns[slots(key).evaluation] = evaluation
    written.uns[slots(key).diagnosis] = table
    if curve is not None and fates_truth is not None:
        held = {"table": curve[0], "scores": curve[1], "truth": fates_truth}
        written.uns[fate_slots(fates_key).calibration] = held
    verdicts = table["verdict"].value_counts()
    logger.info("diagnose: %s", ", ".join(f"{n} {name}" for name, n in verdicts.items()))
    return written if copy else table.copy()


def _rows(
    adata: AnnData,
    cells: FittedCells,
    evaluation: Mapping[str, Any],
    held_out: pd.DataFrame,
    times: pd.DataFrame,
    key: str | None,
) -> list[check.Check]:
    """Return all checks."""
    names, table = slots(key), evaluation["table"]
    simulated = evaluation["simulated"]
    last = np.asarray(simulated["time"]) == np.max(simulated["time"])
    start = cells.reference & (cells.time == cells.model.times[0])
    learned = "growth" in cells.model.learns
    std = adata.obs[names.growth_std].to_numpy() if names.growth_std in adata.obs else None
    observed = check.observed(table)
    rows = [
        observed,
        check.held_out_cells(held_out),
        check.held_out_times(times),
        check.population(table),
        check.groups(evaluation.get("groups"), table.groupby("time")["n_observed"].max()),
        check.action(
            evaluation["action"], stochastic=cells.model.stochastic, observed=observed.verdict
        ),
        check.sample_size(np.asarray(simulated["weight"])[last], int(start.sum())),
        check.growth_level(stored_mass(cells.record), learned=learned),
    ]
    if learned:
        growth: np.ndarray[Any, Any] = cells.model.growth(cells.time, cells.x)
        rows.append(check.growth_differences(growth, std))
    rows.append(check.couplings(cells.record.get("fit", {})))
    return rows


def _fates(adata: AnnData, fates_key: str | None) -> Mapping[str, Any] | None:
    name = fate_slots(fates_key).uns
    held = adata.uns.get(name)
    if isinstance(held, Mapping) and "names" in held:
        return held
    if fates_key is not None:
        msg = f"No fates in uns[{name!r}]; expected the key_added of scruot.tl.fate_probabilities."
        raise KeyError(msg)
    return None


def _calibration(
    adata: AnnData, fates_key: str | None, truth: str | None
) -> tuple[pd.DataFrame, dict[str, float]] | None:
    """Return the reliability of fates and its scores: of what is known, or as stored."""
    if truth is not None:
        return calibrated(adata, truth, key=fates_key)
    held = adata.uns.get(fate_slots(fates_key).calibration)
    if isinstance(held, Mapping) and isinstance(held.get("table"), pd.DataFrame):
        return held["table"], dict(held["scores"])
    return None


def _left_out(table: pd.DataFrame) -> pd.DataFrame:
    """Return energy distances at times that the fit has not seen."""
    rows = table[table["split"] == "held-out time"]
    return _complete(rows.pivot_table(index="time", columns="comparison", values="energy"))


def _fold_rows(folds: pd.DataFrame) -> pd.DataFrame:
    names = folds["method"].str.removeprefix("null: ")
    named = folds.assign(comparison=names.where(names.isin([*_NULLS, _FLOOR]), "model"))
    kept = named[~_other_nulls(named)]
    return _complete(kept.pivot_table(index="time", columns="comparison", values="energy"))


def _other_nulls(table: pd.DataFrame) -> pd.Series:
    return table["method"].str.startswith("null: ") & (table["comparison"] == "model")


def _complete(by_time: pd.DataFrame) -> pd.DataFrame:
    """Return the model and the nulls that every time has, with the time as a column."""
    kept = [name for name in ("model", *_NULLS, _FLOOR) if name in by_time.columns]
    if "model" not in kept or not set(kept) & set(_NULLS):
        return pd.DataFrame()
    found: pd.DataFrame = by_time[kept].dropna(axis=1).reset_index()
    return found


def _stored_folds(adata: AnnData, cells: FittedCells) -> pd.DataFrame | None:
    """Return what cross-validation has stored about this method with these parameters."""
    table = adata.uns.get(CROSS_VALIDATION)
    if not isinstance(table, pd.DataFrame) or "method" not in table:
        return None
    wanted = json.loads(str(plain(changed_params(cells.record))))
    same = [
        name == cells.record["method"] and json.loads(str(text)) == wanted
        for name, text in zip(table["method"], table["parameters"], strict=True)
    ]
    if not any(same):
        return None
    nulls = table["method"].str.startswith("null: ").to_numpy()
    floor = (table["method"] == _FLOOR).to_numpy()
    return table[np.asarray(same) | nulls | floor]
