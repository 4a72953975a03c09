"""Which cells a tool looks at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._messages import unknown
from scruot.io.read import read_obs
from scruot.tl._groups import read_groups


def labels(adata: AnnData, column: str) -> pd.Categorical:
    """Return the group of every cell; numbers that many cells share, as times, are groups, too.

    Raises
    ------
    KeyError
        When there is no such column.
    ValueError
        When it holds measurements, or no label at all.
    """
    values = read_obs(adata, column, "groups")
    if not pd.api.types.is_float_dtype(values.dtype):
        return read_groups(adata, column)
    found = numbered(values.to_numpy(dtype=np.float64, na_value=np.nan))
    n_labelled = int((np.asarray(found.codes) >= 0).sum())
    if n_labelled == 0 or 2 * len(found.categories) > max(n_labelled, 2):
        msg = (
            f"obs[{column!r}] holds {len(found.categories)} different numbers in {n_labelled} "
            "cells; expected groups: a categorical column, words, or numbers that many cells share."
        )
        raise ValueError(msg)
    return found


def numbered(values: NDArray[np.float64]) -> pd.Categorical:
    """Return the group of every number, in their order; none for NaN and infinity."""
    present, codes = np.unique(values[np.isfinite(values)], return_inverse=True)
    every = np.full(len(values), -1)
    every[np.isfinite(values)] = codes
    # the stubs tell categoricals of words from those of anything
    found: Any = pd.Categorical.from_codes(every.tolist(), pd.Index([f"{v:g}" for v in present]))
    return found


def strata(adata: AnnData, column: str | None) -> NDArray[np.intp] | None:
    """Return the number of the group of every cell, -1 where it has none; ``None`` for none."""
    return None if column is None else np.asarray(labels(adata, column).codes, dtype=np.intp)


def chosen_cells(
    adata: AnnData, groupby: str | None, groups: Iterable[Any] | None
) -> NDArray[np.bool_]:
    """Mark the cells of some groups of a column of ``obs``; all cells without a column.

    Raises
    ------
    KeyError
        For a column or a group that is not there.
    ValueError
        When only one of the two arguments is given, or no group is.
    """
    if (groupby is None) != (groups is None):
        msg = f"Found groupby={groupby!r} and groups={groups!r}; expected both or neither."
        raise ValueError(msg)
    if groupby is None or groups is None:
        return np.ones(adata.n_obs, dtype=bool)
    known = labels(adata, groupby)
    given = [groups] if isinstance(groups, str) or np.isscalar(groups) else list(groups)
    wanted = [f"{g:g}" if isinstance(g, float) else str(g) for g in given]
    if not wanted:
        msg = f"Found no groups of obs[{groupby!r}]; expected some of {list(known.categories)}."
        raise ValueError(msg)
    for group in wanted:
        if group not in known.categories:
            raise KeyError(unknown("group", group, list(known.categories)))
    return np.isin(np.asarray(known), wanted)
