"""Fates against what is known of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot._checks import whole
from scruot._keys import fate_slots
from scruot._messages import did_you_mean
from scruot.fates.reliability import reliability, scores
from scruot.io.fates import Fates, read_fates
from scruot.io.read import read_obs
from scruot.io.store import check_writable, writable


def fate_calibration(
    adata: AnnData,
    truth: str,
    *,
    key: str | None = None,
    where: Iterable[bool] | None = None,
    n_bins: int = 10,
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Compare fates with what is known of them, whether probabilities come true.

    Parameters
    ----------
    adata
        Cells with :func:`scruot.tl.fate_probabilities`.
    truth
        Column of ``obs`` with the fate of each cell, missing where it is not known (of clones, of a
        time lapse), or key of ``obsm`` with true probabilities, a column for each fate in the order
        of the fates, NaN where they are not known.
    key
        ``key_added`` of the fates.
    where
        Mask of the cells to look at. By default all that are in no terminal state.
    n_bins
        Bins of the predicted probability.
    copy
        Whether to return a copy with the table instead of writing to ``adata``.

    Returns
    -------
    The table, or the copy: a row for each fate and bin with ``fate``, ``low``, ``high``,
    ``predicted`` and ``observed`` (means), ``se``, ``n_cells``; scores of all in its ``attrs``:
    ``"brier"``, ``"skill"`` (one minus the Brier score over that of the mean: below zero,
    probabilities do harm), ``"calibration_error"``, ``"r"``. Written to
    ``adata.uns["fate_calibration"]``: ``"table"`` and ``"scores"``.

    Raises
    ------
    KeyError
        When there are no fates, or no such truth.
    ValueError
        When the truth does not fit the fates, or is known of no cell.

    See Also
    --------
    scruot.pl.fate_calibration : the reliability diagram.

    References
    ----------
    Brier (1950), Monthly Weather Review 78, 1-3 :cite:p:`brier1950`. Murphy (1973), J. Appl.
    Meteorol. 12, 595-600 :cite:p:`murphy1973`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.branching(300, 5, n_continue=32, random_state=0)
    >>> scruot.tl.fate_probabilities(adata, "cell_type", source="transport", use_rep="X_sim")
    >>> table = scruot.tl.fate_calibration(adata, "fate_true")
    >>> table.attrs["skill"] > 0.5
    True
    """
    whole("n_bins", n_bins)
    check_writable(adata, copy=copy)
    table, figures = calibrated(adata, truth, key=key, where=where, n_bins=n_bins)
    written = writable(adata, copy=copy)
    written.uns[fate_slots(key).calibration] = {"table": table, "scores": figures, "truth": truth}
    table = table.copy()
    table.attrs.update(figures)
    return written if copy else table


def calibrated(
    adata: AnnData,
    truth: str,
    *,
    key: str | None,
    where: Iterable[bool] | None = None,
    n_bins: int = 10,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the reliability table of :func:`fate_calibration` and its scores."""
    slots = fate_slots(key)
    found = read_fates(adata, key)
    true = _truth(adata, truth, found)
    p = found.probabilities
    chosen = np.isfinite(p).all(1) & np.isfinite(true).all(1)
    if where is None:
        chosen &= adata.obs[slots.terminal_states].isna().to_numpy()
    else:
        mask = np.asarray(where)
        if mask.shape != (adata.n_obs,) or mask.dtype != bool:
            msg = (
                f"Found where of shape {mask.shape} and dtype {mask.dtype}; expected a mask of all "
                f"{adata.n_obs} cells."
            )
            raise ValueError(msg)
        chosen &= mask
    if not chosen.any():
        msg = (
            f"No cell has a fate and a known one in {truth!r}; expected at least one: give "
            "fates of cells that are in no terminal state, or other cells with where."
        )
        raise ValueError(msg)
    total = p[chosen].sum(1, keepdims=True)
    guess = np.divide(p[chosen], total, out=np.zeros_like(p[chosen]), where=total > 0)
    table = reliability(guess, true[chosen], found.names, n_bins)
    return table, scores(guess, true[chosen])


def _truth(adata: AnnData, truth: str, found: Fates) -> NDArray[np.float64]:
    if truth in adata.obsm:
        values = np.asarray(adata.obsm[truth], dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(found.names):
            msg = (
                f"obsm[{truth!r}] has shape {values.shape}; expected a column for each of the "
                f"fates {found.names}, in this order."
            )
            raise ValueError(msg)
        return values
    column = read_obs(adata, truth, "column or obsm key of true fates")
    names = column.astype("string")
    strange = sorted(set(names.dropna()) - set(found.names))
    if strange:
        msg = (
            f"obs[{truth!r}] holds {strange[:5]}, which are no fates; expected some of "
            f"{found.names}, missing where unknown.{did_you_mean(strange[0], found.names)}"
        )
        raise ValueError(msg)
    columns = [(names == name).to_numpy(dtype=float, na_value=np.nan) for name in found.names]
    return np.asarray(np.stack(columns, axis=1), dtype=np.float64)
