"""Predicted and observed populations of groups of cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot.io.read import Cells, read_obs
from scruot.tl._classify import classifier
from scruot.tl._clouds import Cloud
from scruot.tl._fitted import FittedCells


def read_groups(adata: AnnData, groupby: str) -> pd.Categorical:
    """Return the group of every cell; cells without a label stay missing.

    Raises
    ------
    KeyError
        When there is no such column.
    ValueError
        When it holds measurements, or no label at all.
    """
    column = read_obs(adata, groupby, "groups")
    is_label = isinstance(column.dtype, pd.CategoricalDtype) or not (
        pd.api.types.is_float_dtype(column.dtype)
        or pd.api.types.is_datetime64_any_dtype(column.dtype)
    )
    if not is_label:
        msg = (
            f"obs[{groupby!r}] has dtype {column.dtype}; expected groups: a categorical column, "
            "words, booleans or whole numbers."
        )
        raise ValueError(msg)
    groups = column.astype("category").cat.remove_unused_categories()
    if groups.isna().all():
        msg = f"obs[{groupby!r}] has no label at all; expected the group of at least some cells."
        raise ValueError(msg)
    return groups.cat.rename_categories(str).array


def last_states(adata: AnnData, groupby: str, cells: Cells) -> list[NDArray[np.integer]]:
    """Return the groups of the fitted cells of the last time; -1 for others, one array per time.

    Raises
    ------
    KeyError, ValueError
        For a missing column, one without groups, and none of them at the last time.
    """
    codes = np.asarray(read_groups(adata, groupby).codes)
    times = np.unique(cells.time[cells.fitted])
    found = [np.where(t == times[-1], codes[cells.fitted & (cells.time == t)], -1) for t in times]
    if (found[-1] < 0).all():
        msg = (
            f"Found no cell with a label in obs[{groupby!r}] at the last time, {times[-1]:g}; "
            "expected the groups in which lineages end. Label cells of the last time, or leave "
            "groupby out."
        )
        raise ValueError(msg)
    return found


def group_masses(
    groups: pd.Categorical, cells: FittedCells, simulated: dict[float, Cloud]
) -> pd.DataFrame:
    """Return one row per time and group: predicted and observed population, relative error.

    A simulated cell is shared among the groups by :class:`scruot.tl._classify.Classifier`.
    """
    codes, votes = np.asarray(groups.codes), classifier(groups, cells)
    rows = []
    for time, cloud in simulated.items():
        here = (codes >= 0) & (cells.mass > 0) & (cells.time == time)
        share = cloud.weights / cloud.weights.sum()
        predicted = cloud.population * (share @ votes.at(time, cloud.x))
        observed = np.bincount(codes[here], cells.mass[here], minlength=len(groups.categories))
        # cells without a label are taken to be like those with one
        with np.errstate(invalid="ignore"):
            observed = observed / observed.sum() * cells.population(time)
        for name, mass, seen in zip(groups.categories, predicted, observed, strict=True):
            error = abs(mass - seen) / seen if seen > 0 else np.nan
            rows.append((time, name, float(mass), float(seen), float(error)))
    columns = ["time", "group", "mass", "mass_observed", "mass_error"]
    return pd.DataFrame(rows, columns=columns)
