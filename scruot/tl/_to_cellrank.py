"""Fits and fates under the names, and in the form, that CellRank reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import (
    CELLRANK,
    DYNAMICS,
    LINEAGES_FWD,
    TERM_STATES_FWD,
    FateSlots,
    basis_name,
    fate_slots,
    group_colors_key,
    slots,
)
from scruot.io.store import check_writable, fitted_representation, read_record, writable

# of lineages whose cells have no stored colour; Okabe and Ito (2008), then a grey
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_GREY = "#b0b0b0"
_ROUNDING = 1e-3


def to_cellrank(
    adata: AnnData,
    *,
    key: str | None = None,
    fates_key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Write velocity and fates as CellRank and scVelo read them, as plain arrays.

    CellRank's ``VelocityKernel`` and all its plots of fates then work on ``adata``, and on the file
    that it is written to, in an environment without scruot. What there is is written: the velocity
    of a fit, the fates, or both.

    Parameters
    ----------
    adata
        Cells with :func:`scruot.tl.fit_dynamics`, ``scruot.tl.fate_probabilities``, or both.
    key
        ``key_added`` of the fit.
    fates_key
        ``key_added`` of the fates.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy. Written for a fit:

    ``adata.uns["cellrank"]["velocity_kernel"]`` : dict
        Arguments of ``cellrank.kernels.VelocityKernel``: ``attr``, ``xkey``, ``vkey``.
    ``adata.uns["cellrank"]["transition_matrix"]`` : dict
        Arguments of its ``compute_transition_matrix``: ``similarity="cosine"``.
    ``adata.obsm["X_dynamics"]`` : array (n, d), float32
        The fitted coordinates, where ``n_dims`` left columns out or the fit was on ``X``: CellRank
        wants as many coordinates as the velocity has.

    Written for fates:

    ``adata.obsm["lineages_fwd"]`` : array (n, k)
        Their probabilities; a plain array, which h5ad holds.
    ``adata.obs["term_states_fwd"]`` : categorical
        The terminal states, with one category per column, in their order; missing for cells in
        none.
    ``adata.uns["term_states_fwd_colors"]`` : list of str
        One colour per column: those of the terminal states where stored.

    Raises
    ------
    KeyError
        When there is neither a fit nor fates, or not the one that was named.
    ValueError
        When cells have no fate, probabilities do not sum to one, or the representation has changed
        since the fit.

    Notes
    -----
    CellRank's default similarity, the correlation, centres each vector first: in two dimensions
    nothing but a sign is left, and in few dimensions a direction is lost. The cosine keeps it.

    CellRank knows no growth: a row of its transition matrix sums to one. The fates of scruot are
    weighed by mass and keep it, so they are exported as they are, and not computed again.

    References
    ----------
    Weiler et al. (2024), CellRank 2, Nature Methods 21 :cite:p:`weiler2024`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.to_cellrank(adata)
    >>> sorted(adata.uns["cellrank"]["velocity_kernel"].items())
    [('attr', 'obsm'), ('vkey', 'velocity_genes'), ('xkey', 'X_genes')]
    """
    check_writable(adata, copy=copy)
    names = fate_slots(fates_key)
    obsm: dict[str, Any] = {}
    obs: dict[str, Any] = {}
    uns: dict[str, Any] = {}
    has_fit = key is not None or DYNAMICS in adata.uns
    has_fates = fates_key is not None or names.probabilities in adata.obsm
    if not (has_fit or has_fates):
        msg = (
            "Found neither a fit nor fates to export; expected at least one: call "
            "scruot.tl.fit_dynamics(adata) or scruot.tl.fate_probabilities(adata, ...) first, "
            "or name them with key and fates_key."
        )
        raise KeyError(msg)
    if has_fit:
        _velocity(adata, key, obsm, uns)
    if has_fates:
        probabilities, states, colors = _fates(adata, names)
        obsm[LINEAGES_FWD] = probabilities
        obs[TERM_STATES_FWD] = states
        uns[group_colors_key(TERM_STATES_FWD)] = colors
    written = writable(adata, copy=copy)
    for name, matrix in obsm.items():
        written.obsm[name] = matrix
    for name, column in obs.items():
        written.obs[name] = column
    for name, entry in uns.items():
        written.uns[name] = entry
    return written if copy else None


def _velocity(adata: AnnData, key: str | None, obsm: dict[str, Any], uns: dict[str, Any]) -> None:
    """Name the arguments of the velocity kernel, and give it the coordinates that it needs."""
    record = read_record(adata, key)
    use_rep = str(record["representation"]["use_rep"])
    vkey = slots(key).velocity(basis_name(use_rep))
    if vkey not in adata.obsm:
        msg = f"No velocity obsm[{vkey!r}] of the fit; fit again, or call scruot.tl.apply_dynamics."
        raise KeyError(msg)
    x = fitted_representation(adata, record)
    xkey = use_rep
    if use_rep == "X" or adata.obsm[use_rep].shape[1] != x.shape[1]:
        xkey = f"X_{slots(key).uns}"
        obsm[xkey] = x
    uns[CELLRANK] = {
        "velocity_kernel": {"attr": "obsm", "xkey": xkey, "vkey": vkey},
        "transition_matrix": {"similarity": "cosine"},
    }


def _fates(
    adata: AnnData, names: FateSlots
) -> tuple[NDArray[np.float64], pd.Categorical, list[str]]:
    """Return probabilities, terminal states and colours, all in the order of the columns."""
    if names.probabilities not in adata.obsm:
        msg = (
            f"No fates in obsm[{names.probabilities!r}] (found {sorted(adata.obsm)}); call "
            "scruot.tl.fate_probabilities(adata, ...) first."
        )
        raise KeyError(msg)
    table = adata.obsm[names.probabilities]
    if not isinstance(table, pd.DataFrame):
        msg = (
            f"obsm[{names.probabilities!r}] is a {type(table).__name__}; expected a DataFrame with "
            "one named column per fate, as scruot.tl.fate_probabilities writes it."
        )
        raise ValueError(msg)
    probabilities = table.to_numpy(dtype=np.float64)
    without = np.isnan(probabilities).any(axis=1)
    if without.any():
        msg = (
            f"{int(without.sum())} cells have no fate (first: {adata.obs_names[without][0]!r}); "
            "CellRank needs one of every cell. Export the others: adata = "
            f"adata[adata.obsm[{names.probabilities!r}].notna().all(axis=1)].copy()."
        )
        raise ValueError(msg)
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(1), 1, atol=_ROUNDING):
        msg = (
            f"obsm[{names.probabilities!r}] has rows that are negative or do not sum to one; "
            "expected probabilities."
        )
        raise ValueError(msg)
    columns = [str(column) for column in table.columns]
    states, known = _states(adata, names, columns)
    colors = [known.get(name, _COLORS[i % len(_COLORS)]) for i, name in enumerate(columns)]
    return probabilities, states, colors


def _states(
    adata: AnnData, names: FateSlots, columns: list[str]
) -> tuple[pd.Categorical, Mapping[str, str]]:
    """Return the terminal states with a category per column, and the colours that are stored."""
    if names.terminal_states not in adata.obs:
        msg = (
            f"No terminal states in obs[{names.terminal_states!r}]; expected those of the fates: "
            "call scruot.tl.fate_probabilities(adata, ...) again."
        )
        raise KeyError(msg)
    column = adata.obs[names.terminal_states].astype("category").cat.rename_categories(str)
    used = column.cat.remove_unused_categories().cat.categories
    unknown = [name for name in used if name not in columns]
    if unknown:
        msg = (
            f"obs[{names.terminal_states!r}] has the states {unknown}, of which there is no column "
            f"in obsm[{names.probabilities!r}] ({columns}); compute the fates again."
        )
        raise ValueError(msg)
    stored = adata.uns.get(names.terminal_states_colors)
    known: dict[str, str] = {name: _GREY for name in columns if name not in column.cat.categories}
    if stored is not None and len(stored) == len(column.cat.categories):
        known |= dict(zip(column.cat.categories, map(str, stored), strict=True))
    return pd.Categorical(column.astype(object), categories=columns), known
