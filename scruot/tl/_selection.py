"""Cells that a user names: a column, a mask, names, or groups of a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray

from scruot._messages import did_you_mean, unknown
from scruot.io.read import check_names, read_obs
from scruot.tl._groups import read_groups

Chosen = str | Sequence[str] | NDArray[Any] | pd.Series | pd.Index | Mapping[str, Any]


def chosen_rows(adata: AnnData, chosen: Chosen, what: str) -> NDArray[np.integer]:
    """Return the positions of the cells that ``chosen`` names.

    Parameters
    ----------
    adata
        All cells.
    chosen
        A boolean column of ``obs``, a mask, names of cells, or ``{column: group or groups}``.
    what
        Name of the argument, for messages.

    Raises
    ------
    KeyError
        For an unknown column or cell.
    ValueError
        For anything else, unknown groups, and when there is no cell.
    """
    check_names(adata)
    if isinstance(chosen, Mapping):
        rows = _in_groups(adata, chosen, what)
    elif isinstance(chosen, str):
        rows = np.flatnonzero(_boolean(adata, chosen, what))
    else:
        values = as_array(_aligned(adata, chosen, what))
        if values.ndim == 1 and values.dtype == bool:
            if len(values) != adata.n_obs:
                msg = (
                    f"Found {what}, a mask of {len(values)} cells; expected one of all "
                    f"{adata.n_obs} cells."
                )
                raise ValueError(msg)
            rows = np.flatnonzero(values)
        elif values.ndim == 1 and all(isinstance(name, str) for name in values):
            rows = positions(adata, values, what)
        else:
            msg = (
                f"Found {what} of shape {values.shape} and dtype {values.dtype}; expected a "
                "boolean column or mask, a list of cell names, or {column: group}."
            )
            raise ValueError(msg)
    if len(rows) == 0:
        msg = f"{what} names no cell; expected at least one."
        raise ValueError(msg)
    return rows


def as_array(values: Any) -> NDArray[Any]:
    """Return what a user gave for cells as an array."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, pd.Series) and pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(dtype=bool)
    if isinstance(values, (pd.Series, pd.DataFrame)):
        return values.to_numpy()
    if isinstance(values, pd.Index):
        return values.to_numpy(dtype=object)
    return np.asarray(values)


def positions(adata: AnnData, names: NDArray[Any], what: str) -> NDArray[np.integer]:
    """Return the positions of cells by name.

    Raises
    ------
    KeyError
        For unknown names.
    """
    rows = adata.obs_names.get_indexer(pd.Index(names.astype(object)))
    if (rows < 0).any():
        strange = [str(name) for name in names[rows < 0]]
        hint = did_you_mean(strange[0], adata.obs_names)
        msg = (
            f"Found {len(strange)} names of {what} that are no cells (first: {strange[0]!r}).{hint}"
        )
        raise KeyError(msg)
    return rows


def _aligned(adata: AnnData, chosen: Any, what: str) -> Any:
    """Return a boolean series in the order of the cells, whose names its index has."""
    if not isinstance(chosen, pd.Series) or not pd.api.types.is_bool_dtype(chosen.dtype):
        return chosen
    index = chosen.index
    if index.equals(adata.obs_names) or isinstance(index, pd.RangeIndex):
        return chosen
    if len(index) != adata.n_obs or not index.is_unique or not index.isin(adata.obs_names).all():
        msg = (
            f"Found {what}, a boolean series with an index other than the {adata.n_obs} cell names "
            "of adata; expected one value for each cell, as in obs, or an array in their order."
        )
        raise ValueError(msg)
    return chosen.reindex(adata.obs_names)


def _boolean(adata: AnnData, key: str, what: str) -> NDArray[np.bool_]:
    column = read_obs(adata, key, f"boolean column for {what}")
    if not pd.api.types.is_bool_dtype(column.dtype) or column.isna().any():
        msg = (
            f"Found {what}={key!r}, a column of dtype {column.dtype}; expected booleans without "
            f"gaps, True for the cells that are meant. For groups write {{{key!r}: group}}."
        )
        raise ValueError(msg)
    return column.to_numpy(dtype=bool)


def _in_groups(adata: AnnData, chosen: Mapping[str, Any], what: str) -> NDArray[np.integer]:
    if len(chosen) != 1:
        msg = f"Found {what} with {len(chosen)} columns; expected one: {{column: group or groups}}."
        raise ValueError(msg)
    ((key, wanted),) = chosen.items()
    groups = read_groups(adata, str(key))
    names = [wanted] if isinstance(wanted, str) or np.isscalar(wanted) else list(wanted)
    for name in names:
        if str(name) not in groups.categories:
            raise ValueError(unknown(f"group of obs[{key!r}]", str(name), groups.categories))
    return np.flatnonzero(groups.isin([str(name) for name in names]))
