"""How good a fit is, beside what needs no model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._checks import check_seed, whole
from scruot._keys import slots
from scruot.dynamics.passage import passage
from scruot.io.store import writable
from scruot.tl._checks import check_step
from scruot.tl._clouds import Cloud, halves, nulls, score, subset
from scruot.tl._fitted import FittedCells, read_fitted
from scruot.tl._groups import group_masses, read_groups

logger = logging.getLogger(__name__)

_HELD_OUT_TIME = "held-out time"
_HELD_OUT_CELLS = "held-out cells"
_OBSERVED = "observed"


def evaluate(
    adata: AnnData,
    *,
    key: str | None = None,
    groupby: str | None = None,
    n_cells: int = 2000,
    step: float | Literal["adaptive"] | None = None,
    random_state: int = 0,
    device: str = "auto",
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Score a fit at every later time, beside nulls and the noise of sampling.

    All fitted cells of the first time are simulated once, without a restart, to the last time,
    and compared at every later time with the cells there, those of held-out times and held-out
    cells too. Distances are between distributions (weights normalised to one); populations are
    compared by the mass rule of the fit, relative to the first fitted time.

    Parameters
    ----------
    adata
        Cells with a fit, in memory or read back from a file.
    key
        ``key_added`` of the fit.
    groupby
        Column of ``obs`` with groups, e.g. lineages; the population of each is compared, too.
        Simulated cells are shared among the groups of their 15 nearest observed cells of that
        time, weighed by one over the distance. Cells may lack a label; they are taken to be
        like the others of their time.
    n_cells
        Distances and groups are computed on a random subset of at most this many cells per
        cloud, fixed by ``random_state``. Predicted populations and the action use all cells.
    step
        Largest time step in the unit of the fit, by default 4 % of the mean interval;
        ``"adaptive"`` halves it until that changes nothing (deterministic models only).
    random_state
        Seed of subsets, halves and noise.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    copy
        Whether to return a copy of ``adata`` with the results instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy. One row per time, split and comparison:

    ``time`` : float
    ``comparison`` : str
        ``"model"``; nulls that need no model: ``"linear"`` (cells on the straight lines of
        balanced optimal transport between the neighbouring fitted snapshots, for held-out
        times), ``"wfr"`` (the same along WFR geodesics), ``"previous"`` and ``"next"`` (the
        neighbouring fitted snapshot as it is) and ``"pooled"`` (the fitted cells of all other
        times); and ``"noise floor"``: two disjoint random halves of the snapshot, or its
        fitted against its held-out cells.
    ``split`` : str
        What the prediction is compared with: ``"observed"`` (cells of the fit),
        ``"held-out cells"`` or ``"held-out time"``. Cells of data that the model was only
        applied to count as held out.
    ``w1``, ``w2``, ``mmd``, ``energy`` : float
        Distances of :mod:`scruot.metrics`.
    ``mass``, ``mass_observed``, ``mass_error`` : float
        Population relative to the first fitted time, and the relative error; NaN where the
        comparison claims none.
    ``n_observed`` : int
        Cells there are to compare with, before any subset.

    Written as ``adata.uns["dynamics_evaluation"]``:

    ``"table"`` : DataFrame
        As returned.
    ``"groups"`` : DataFrame
        ``time``, ``group``, ``mass``, ``mass_observed``, ``mass_error``; with ``groupby``.
    ``"simulated"`` : dict
        The simulated cells that were compared: ``"x"`` (m, d), ``"time"``, ``"weight"``; the
        weights at a time sum to the predicted population.
    ``"action"`` : dict
        ``"model"``: the mean over the start cells of ``int 1/2 (|b|^2 + delta^2 g^2) w dt``
        from the first to the last fitted time, in the user's units; beside it the bounds of
        its least possible value, ``"floor_dual"`` and ``"floor_primal"``. NaN where the
        method has no ``delta`` or no floor. A deterministic model below the floor misses the
        snapshots.
    ``"groupby"``, ``"parameters"``
        How it was computed.

    Raises
    ------
    KeyError
        When there is no such fit or column.
    ValueError
        For a parameter out of range, when nothing can be compared, or when the representation
        has changed since the fit.
    RuntimeError
        When the model drives cells away to infinity, or ``step="adaptive"`` does not settle.

    Notes
    -----
    In many dimensions cells are far from each other, and W1 and W2 are mostly the noise of
    sampling. They also flatter the linear null, whose cells are means of two distant cells and so
    lie nearer to all others, perhaps below the noise floor. Read ``energy`` and ``mmd`` beside
    them: these see the shrunken spread.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`: held-out times beside
    interpolation nulls.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", holdout=2, steps=20, progress=False)
    >>> table = scruot.tl.evaluate(adata, n_cells=200)
    >>> sorted(table.loc[table["split"] == "held-out time", "comparison"])
    ['linear', 'model', 'next', 'noise floor', 'pooled', 'previous', 'wfr']
    """
    random_state = check_seed(random_state)
    whole("n_cells", n_cells)
    check_step(step)
    cells = read_fitted(adata, key, device)
    groups = None if groupby is None else read_groups(adata, groupby)
    times = _times(cells)
    rng = np.random.default_rng(random_state)
    carried = _carry(cells, times, n_cells, step, rng, random_state)
    table = pd.DataFrame(_rows(cells, carried.clouds, n_cells, rng))
    result: dict[str, Any] = {
        "table": table,
        "simulated": _stacked(carried.clouds),
        "action": {"model": carried.action, **_floors(cells.record)},
        "parameters": {
            "n_cells": n_cells,
            "random_state": random_state,
            "step": "default" if step is None else step,
        },
    }
    if groups is not None:
        result["groups"] = group_masses(groups, cells, carried.clouds)
        result["groupby"] = groupby
    written = writable(adata, copy=copy)
    written.uns[slots(key).evaluation] = result
    return written if copy else table.copy()


@dataclass(frozen=True)
class _Carried:
    clouds: dict[float, Cloud]
    action: float


def _times(cells: FittedCells) -> list[float]:
    """Return the first fitted time and all later times that have cells."""
    first = cells.model.times[0]
    all_times = np.unique(cells.time[cells.mass > 0])
    if not (cells.reference & (cells.time == first)).any():
        msg = (
            f"Found no fitted cells at the first fitted time {first:g}; expected some to start the "
            "simulation from: evaluate cells that include them."
        )
        raise ValueError(msg)
    before = all_times[all_times < first]
    if len(before):
        logger.info("times %s before the first fitted one are left out", before.tolist())
    times = [float(t) for t in all_times if t >= first]
    if len(times) < 2:
        msg = f"Found no cells after the first fitted time {first:g}; nothing to compare with."
        raise ValueError(msg)
    return times


def _carry(
    cells: FittedCells,
    times: list[float],
    n_cells: int,
    step: float | str | None,
    rng: np.random.Generator,
    random_state: int,
) -> _Carried:
    """Simulate all cells of the first time, and keep a subset of them at the later times."""
    start = cells.reference & (cells.time == times[0])
    mass = cells.mass[start]
    delta = cells.record.get("resolved", {}).get("delta")
    run = passage(
        cells.model,
        cells.x[start],
        times,
        weights=mass / mass.sum(),
        delta=None if delta is None else float(delta),
        until=max(t for t in times if t <= cells.model.times[-1]),
        step=step,
        random_state=random_state,
    )
    kept = subset(len(mass), n_cells, rng)
    clouds = {
        t: Cloud(x[kept], weight[kept], float(weight.sum()))
        for t, x, weight in zip(times[1:], run.x[1:], run.weights[1:], strict=True)
    }
    return _Carried(clouds, run.action)


def _rows(
    cells: FittedCells, simulated: Mapping[float, Cloud], n_cells: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    reference = cells.reference
    snapshots = {
        t: _cloud(cells, reference & (cells.time == t), t)
        for t in cells.model.times
        if (reference & (cells.time == t)).any()
    }
    for time, prediction in simulated.items():
        for split, mask, other in _targets(cells, time):
            whole_target = _cloud(cells, mask, time)
            target = whole_target.thinned(n_cells, rng)
            held_out = split == _HELD_OUT_TIME
            found = {
                "model": prediction,
                **nulls(time, snapshots, held_out=held_out, n_cells=n_cells, rng=rng),
            }
            same = {"split": split, "n_observed": int(mask.sum())}
            for name, cloud in found.items():
                yield _row(time, name, same, score(cloud, target))
            if other is None:
                pair = halves(whole_target, rng)
            else:
                pair = _cloud(cells, other, time), whole_target
            if pair is not None:
                first, second = (replace(c.thinned(n_cells, rng), population=np.nan) for c in pair)
                floor = score(first, replace(second, population=whole_target.population))
                yield _row(time, "noise floor", same, floor)


def _row(
    time: float, comparison: str, same: dict[str, Any], figures: dict[str, float]
) -> dict[str, Any]:
    return {
        "time": time,
        "comparison": comparison,
        "split": same["split"],
        **figures,
        "n_observed": same["n_observed"],
    }


def _targets(
    cells: FittedCells, time: float
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_] | None]]:
    """Yield what to compare with at a time, and the fitted cells beside held-out ones."""
    here = (cells.time == time) & (cells.mass > 0)
    if time not in cells.model.times:
        yield _HELD_OUT_TIME, here, None
        return
    seen, unseen = here & cells.seen, here & ~cells.seen
    if seen.any():
        yield _OBSERVED, seen, None
    if unseen.any():
        yield _HELD_OUT_CELLS, unseen, seen if seen.any() else None


def _cloud(cells: FittedCells, mask: NDArray[np.bool_], time: float) -> Cloud:
    return Cloud(cells.x[mask], cells.mass[mask], cells.population(time))


def _stacked(clouds: Mapping[float, Cloud]) -> dict[str, NDArray[Any]]:
    weights = [c.weights * (c.population / c.weights.sum()) for c in clouds.values()]
    return {
        "x": np.concatenate([c.x for c in clouds.values()]).astype(np.float32),
        "time": np.repeat(list(clouds), [len(c.x) for c in clouds.values()]),
        "weight": np.concatenate(weights),
    }


def _floors(record: Mapping[str, Any]) -> dict[str, float]:
    fit = record.get("fit", {})
    return {
        f"floor_{side}": float(fit.get(f"action_floor_{side}", np.nan))
        for side in ("dual", "primal")
    }
