"""Conditions of cells, the units of a comparison between them, and its table."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from scruot._messages import did_you_mean
from scruot.io.read import read_obs
from scruot.io.samples import sample_labels
from scruot.tl._permutation import Shift

logger = logging.getLogger(__name__)


def read_conditions(adata: AnnData, name: str) -> pd.Categorical:
    """Return the condition of every cell, of at least two.

    Raises
    ------
    KeyError, ValueError
        When there is no such column, it holds no labels, or but one.
    """
    labels = sample_labels(read_obs(adata, name, "condition column"), name, "condition_key")
    if len(labels.categories) < 2:
        msg = (
            f"Found one condition in obs[{name!r}] ({labels.categories[0]!r}); expected at least "
            "two to compare."
        )
        raise ValueError(msg)
    return labels.rename_categories(str)


def read_reference(conditions: pd.Categorical, name: str, reference: str | None) -> str:
    """Return the condition that others are compared with, by default the first.

    Raises
    ------
    ValueError
        For one that is none.
    """
    known = [str(c) for c in conditions.categories]
    if reference is None:
        return known[0]
    if str(reference) not in known:
        msg = (
            f"Found reference={reference!r}, which is no condition of obs[{name!r}]; expected one "
            f"of {known}.{did_you_mean(str(reference), known)}"
        )
        raise ValueError(msg)
    return str(reference)


def read_units(adata: AnnData, name: str, conditions: pd.Categorical) -> NDArray[np.int64]:
    """Return the replicate of every cell, each of one condition.

    Raises
    ------
    KeyError, ValueError
        When there is no such column, it holds no labels, or a replicate is of several conditions.
    """
    labels = sample_labels(read_obs(adata, name, "replicate column"), name, "replicate_key")
    codes = np.asarray(labels.codes, dtype=np.int64)
    pairs = pd.DataFrame({"replicate": codes, "condition": np.asarray(conditions)})
    several = pairs.drop_duplicates().groupby("replicate").size()
    if (several > 1).any():
        shared = str(labels.categories[several.index[int(several.argmax())]])
        msg = (
            f"Replicate {shared!r} of obs[{name!r}] has cells of several conditions; expected "
            "replicates of one condition each: name samples, e.g. donor and condition together."
        )
        raise ValueError(msg)
    return codes


def unit_means(
    values: NDArray[np.float64],
    chosen: NDArray[np.bool_],
    replicates: NDArray[np.int64] | None,
    here: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return one row of probabilities per unit, and which units are compared.

    Parameters
    ----------
    values
        Probabilities of cells, shape (n, k).
    chosen
        Cells of the condition that is compared, shape (n,).
    replicates
        Replicate of every cell; without, cells are units.
    here
        Cells that take part, shape (n,).
    """
    if replicates is None:
        return values[here], chosen[here]
    codes, unit = np.unique(replicates[here], return_inverse=True)
    counts = np.bincount(unit, minlength=len(codes))
    sums = np.stack([np.bincount(unit, v, minlength=len(codes)) for v in values[here].T], axis=1)
    return sums / counts[:, None], np.bincount(unit, chosen[here], minlength=len(codes)) > 0


def shift_rows(
    where: dict[str, Any],
    names: list[str],
    units: NDArray[np.float64],
    chosen: NDArray[np.bool_],
    shift: Shift,
    *,
    unit: str,
) -> list[dict[str, Any]]:
    """Return the rows of one comparison, one for each fate; ``where`` says of what."""
    return [
        {
            **where,
            "fate": name,
            "mean": float(units[chosen, k].mean()),
            "mean_reference": float(units[~chosen, k].mean()),
            "shift": float(shift.difference[k]),
            "error": float(shift.error[k]),
            "p": float(shift.p[k]),
            "p_least": shift.least,
            "n": int(chosen.sum()),
            "n_reference": int((~chosen).sum()),
            "unit": unit,
        }
        for k, name in enumerate(names)
    ]


def shift_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the table with p-values that are adjusted, and log what they cannot say."""
    table = pd.DataFrame(rows)
    place = list(table.columns).index("p_least") + 1
    table.insert(place, "q", false_discovery_control(table["p"]))
    if (table["unit"] == "cells").all():
        logger.warning(
            "The units of the test are cells, which are no independent samples of a condition: "
            "p-values are too small for a claim about conditions. Give replicate_key."
        )
    elif table["p_least"].min() > 0.05:
        logger.warning(
            "With so few replicates no p-value can be below %.2g; the shifts and their errors are "
            "what there is.",
            table["p_least"].min(),
        )
    return table
