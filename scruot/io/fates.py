"""Fates in AnnData: probabilities in ``obsm``, figures in ``obs``, words in ``uns``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.special import xlogy

from scruot._keys import FateSlots, fate_slots, group_colors_key
from scruot._messages import did_you_mean
from scruot.io.read import read_obs

__all__ = [
    "NONE",
    "Fates",
    "check_free_fates",
    "fates_table",
    "group_colors",
    "package_versions",
    "read_fates",
    "write_fates",
]

NONE = "none of these"
_PACKAGES = ("scruot", "torch", "numpy", "scipy", "anndata")
_PARTS = ("names", "source", "params", "times")


@dataclass(frozen=True, eq=False)
class Fates:
    """Fates of cells.

    Attributes
    ----------
    names
        Names of the fates.
    probabilities
        Shape (n, F), rows sum to one with ``none``; NaN for cells without a fate.
    none
        Probability of none of the fates (n,), where it is kept apart.
    errors
        Standard errors (n, F), where they were asked for.
    record
        Entry of ``uns``.
    """

    names: list[str]
    probabilities: NDArray[np.float64]
    none: NDArray[np.float64] | None
    errors: NDArray[np.float64] | None
    record: Mapping[str, Any]


def package_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {package: version(package) for package in _PACKAGES}


def column_names(names: list[str]) -> list[str]:
    """Return names that h5ad holds as columns: without slashes, without repeats."""
    plain = [name.replace("/", "|") for name in names]
    return plain if len(set(plain)) == len(plain) else [f"{k}: {p}" for k, p in enumerate(plain)]


def check_free_fates(adata: AnnData, slots: FateSlots) -> None:
    """Refuse to replace an entry of ``uns`` that holds no fates.

    Raises
    ------
    ValueError
        For such an entry.
    """
    held = adata.uns.get(slots.uns)
    if held is not None and not (isinstance(held, Mapping) and set(_PARTS) <= set(held)):
        msg = (
            f"Found uns[{slots.uns!r}], which holds no fates of scruot and would be lost; expected "
            "a free name: give another key_added, or delete the entry."
        )
        raise ValueError(msg)


def write_fates(
    adata: AnnData,
    found: Fates,
    states: pd.Categorical,
    descendants: NDArray[np.float64],
    groupby: str | None,
    slots: FateSlots,
) -> None:
    """Write fates and what follows from them, and drop what an earlier call wrote beyond that."""
    names, p = found.names, found.probabilities
    shown = p if found.none is None else np.column_stack([p, found.none])
    columns = column_names(names if found.none is None else [*names, NONE])
    adata.obsm[slots.probabilities] = pd.DataFrame(shown, index=adata.obs_names, columns=columns)
    if found.errors is not None:
        errors = pd.DataFrame(found.errors, index=adata.obs_names, columns=columns[: len(names)])
        adata.obsm[slots.errors] = errors
    elif slots.errors in adata.obsm:
        del adata.obsm[slots.errors]
    lost = np.isnan(p).any(1)
    best = np.where(lost, -1, np.argmax(np.nan_to_num(p), axis=1))
    if found.none is not None:  # none of them is likelier than any
        best = np.where(np.nan_to_num(found.none) > np.nan_to_num(p).max(1), -1, best)
    adata.obs[slots.terminal_states] = states
    adata.obs[slots.fate] = pd.Categorical.from_codes(best, categories=pd.Index(names))
    # the difference keeps certain fates from an entropy of -0
    adata.obs[slots.entropy] = 0.0 - xlogy(shown, shown).sum(1) / np.log(shown.shape[1])
    adata.obs[slots.descendants] = descendants
    colors = group_colors(adata, names, groupby)
    for key in (slots.terminal_states_colors, slots.fate_colors):
        if colors is not None:
            adata.uns[key] = colors
        else:
            adata.uns.pop(key, None)
    adata.uns[slots.uns] = dict(found.record)
    for stale in (slots.calibration, slots.shift):
        adata.uns.pop(stale, None)


def group_colors(
    adata: AnnData, names: list[str], groupby: str | None
) -> NDArray[np.object_] | None:
    """Return the colours that the data hold for the groups that are fates."""
    stored = None if groupby is None else adata.uns.get(group_colors_key(groupby))
    if stored is None or groupby not in adata.obs:
        return None
    categories = list(map(str, adata.obs[groupby].astype("category").cat.categories))
    known = dict(zip(categories, map(str, stored), strict=False))
    if not set(names) <= known.keys():
        return None
    return np.asarray([known[name] for name in names], dtype=object)


def read_fates(adata: AnnData, key: str | None = None) -> Fates:
    """Return the fates that ``adata`` holds, checked.

    Raises
    ------
    KeyError
        When there are none.
    ValueError
        When the entry is damaged.
    """
    slots = fate_slots(key)
    if slots.uns not in adata.uns or slots.probabilities not in adata.obsm:
        held = [k for k, v in adata.uns.items() if isinstance(v, Mapping) and set(_PARTS) <= set(v)]
        what = f"found fates {held}" if held else "found no fates at all"
        msg = (
            f"No fates in uns[{slots.uns!r}] and obsm[{slots.probabilities!r}] ({what})."
            f"{did_you_mean(slots.uns, held)} Call scruot.tl.fate_probabilities(adata, groupby) "
            "first, or give its key_added as key."
        )
        raise KeyError(msg)
    record = adata.uns[slots.uns]
    names = [str(name) for name in record["names"]] if "names" in record else []
    values = np.asarray(adata.obsm[slots.probabilities], dtype=np.float64)
    if not names or values.ndim != 2 or values.shape[1] not in (len(names), len(names) + 1):
        msg = (
            f"obsm[{slots.probabilities!r}] of shape {values.shape} does not hold the "
            f"{len(names)} fates of uns[{slots.uns!r}]; run scruot.tl.fate_probabilities again."
        )
        raise ValueError(msg)
    none = values[:, -1] if values.shape[1] > len(names) else None
    errors = None
    if slots.errors in adata.obsm:
        errors = np.asarray(adata.obsm[slots.errors], dtype=np.float64)
    return Fates(names, values[:, : len(names)], none, errors, record)


def fates_table(adata: AnnData, key: str | None, groupby: str | None) -> pd.DataFrame:
    """Return fates of cells, or their means over groups, as a table."""
    found, slots = read_fates(adata, key), fate_slots(key)
    table = pd.DataFrame(found.probabilities, index=adata.obs_names, columns=found.names)
    if found.none is not None:
        table[NONE] = found.none
    numbers = {
        "fate_entropy": adata.obs[slots.entropy].to_numpy(),
        "expected_descendants": adata.obs[slots.descendants].to_numpy(),
    }
    if groupby is None:
        return table.assign(fate=adata.obs[slots.fate].array, **numbers)
    groups = read_obs(adata, groupby, "groups")
    known = table.notna().all(axis=1)
    grouped = table.assign(**numbers)[known].groupby(groups[known], observed=True)
    return grouped.mean().assign(n_cells=grouped.size())
