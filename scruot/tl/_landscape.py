"""The Waddington landscape: minus the logarithm of the density of cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scruot._checks import check_seed, whole
from scruot._keys import slots
from scruot._messages import unknown
from scruot.io.store import check_writable, writable
from scruot.io.time import read_moments
from scruot.tl._fitted import FittedCells, read_fitted
from scruot.tl._landscape_view import (
    View,
    grid_axes,
    learned_heights,
    mixture_heights,
    read_view,
)
from scruot.tl._law_density import law_at, log_densities

__all__ = ["landscape"]

_SOURCES = ("auto", "learned", "cells")


def landscape(
    adata: AnnData,
    times: Iterable[float | str] | float | str | None = None,
    *,
    key: str | None = None,
    basis: str | None = None,
    components: tuple[int, int] = (1, 2),
    source: Literal["auto", "learned", "cells"] = "auto",
    n_grid: int = 60,
    random_state: int = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Compute the landscape :math:`-\log p(t, x)`: valleys are where cells are many.

    The density `p` integrates to the population at its time, in units of the first fitted one,
    so heights can be compared between places *and* times: where all cells have doubled, and done
    nothing else, the ground lies deeper by :math:`\log 2`. It is a density per volume of the unit
    of the representation.

    Parameters
    ----------
    adata
        Annotated data with a fit.
    times
        Times of the pictures, numbers in the unit of the fit or labels of the time column; by
        default all times at which there are cells. In the fitted representation they need not be
        observed, but lie between those that are.
    key
        ``key_added`` of the fit.
    basis
        Where the pictures are: any embedding in ``obsm``, as ``"umap"`` or ``"X_umap"``. By
        default the fitted representation.
    components
        Which two dimensions of the basis, counted from 1; the density is that of these two
        coordinates alone.
    source
        ``"learned"`` takes the density that the method has learned, ``"cells"`` fits a Gaussian
        mixture (1 to 8 components by the Bayesian information criterion) to the fitted cells of
        a time, weighted by their masses, or at a time without any to the first snapshot as the
        model carries it there. ``"auto"`` takes the learned one where there is one.
    n_grid
        Points of the grid along each axis.
    random_state
        Seed of the mixtures.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    ``None``, or the copy. Writes

    ``adata.obs["landscape"]`` : float, shape (n,)
        Height of every cell at its own time, in all dimensions of the representation; NaN for
        cells of times before the first fitted one.
    ``adata.uns["landscape"]`` : dict
        ``"height"`` (n_times, n_grid, n_grid), a row per value of ``"y"``, at ``"times"``, on the
        grid ``"x"``, ``"y"`` (n_grid,); ``"basis"``, ``"components"``, ``"source"`` of the
        cells' heights and ``"grid_source"`` of the grid's.

    Raises
    ------
    KeyError
        When there is no fit or no such basis.
    ValueError
        When a parameter is out of range, `source` is ``"learned"`` and the method has learned no
        density, or a time has no cells and `basis` is not the fitted representation.

    See Also
    --------
    scruot.pl.landscape : draw it.

    Notes
    -----
    A learned density is drawn where the fitted representation has two dimensions. In more, the
    density of two coordinates is an integral that no method has learned: a mixture is fitted to
    the two coordinates of the cells.

    References
    ----------
    Zhang, Li, Zhou (2025), Learning stochastic dynamics from snapshots through regularized
    unbalanced optimal transport, ICLR :cite:p:`zhang2025deepruot`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.landscape(adata, times=[0, 0.5, 1])
    >>> adata.uns["landscape"]["height"].shape
    (3, 60, 60)
    """
    if source not in _SOURCES:
        raise ValueError(unknown("source", source, _SOURCES))
    random_state = check_seed(random_state)
    whole("n_grid", n_grid, least=2)
    check_writable(adata, copy=copy)
    cells = read_fitted(adata, key, "cpu")
    learned = _learned(cells, source)
    view = read_view(adata, cells, basis, components)
    moments = _moments(times, cells, view)
    heights = _heights_of_cells(cells, random_state, learned=learned)
    axes = grid_axes(view.position[cells.time >= cells.model.times[0]], n_grid)
    on_grid = learned and view.whole
    if on_grid:
        picture = learned_heights(cells, view, moments, axes)
    else:
        picture = mixture_heights(cells, view, moments, axes, random_state)
    names = slots(key)
    adata = writable(adata, copy=copy)
    adata.obs[names.landscape] = heights
    adata.uns[names.landscape] = {
        "height": picture.astype(np.float32),
        "times": np.array(moments),
        "x": axes[0],
        "y": axes[1],
        "basis": view.name,
        "components": np.array(components),
        "source": "learned" if learned else "cells",
        "grid_source": "learned" if on_grid else "cells",
    }
    return adata if copy else None


def _learned(cells: FittedCells, source: str) -> bool:
    there = "log_density" in cells.model.learns
    if source == "learned" and not there:
        msg = (
            f"Found source='learned', but {cells.model.method!r} learns "
            f"{', '.join(cells.model.learns)}; expected 'cells' or 'auto', or a method that "
            "learns log_density."
        )
        raise ValueError(msg)
    return there and source != "cells"


def _moments(
    times: Iterable[float | str] | float | str | None, cells: FittedCells, view: View
) -> list[float]:
    first, last = cells.model.times[0], max(cells.time.max(), cells.model.times[-1])
    if times is None:
        return [float(t) for t in np.unique(cells.time) if t >= first]
    moments = read_moments(times, cells.labels)
    if not len(moments) or moments[0] < first or moments[-1] > last:
        msg = (
            f"Found times={moments.tolist()}; expected at least one, from {first:g} to {last:g}: "
            "there are no cells outside."
        )
        raise ValueError(msg)
    lost = [t for t in moments.tolist() if t not in cells.model.times]
    if lost and view.columns is None:
        msg = (
            f"Found times={lost} without fitted cells; in the basis {view.name!r} expected some "
            f"of {list(cells.model.times)}: simulated cells have coordinates in the fitted "
            "representation alone."
        )
        raise ValueError(msg)
    return [float(t) for t in moments]


def _heights_of_cells(
    cells: FittedCells, random_state: int, *, learned: bool
) -> NDArray[np.float64]:
    heights = np.full(len(cells.x), np.nan)
    after = cells.time >= cells.model.times[0]
    if learned:
        x: NDArray[Any] = cells.x
        heights[after] = -cells.model.log_density(cells.time[after], x[after])
        return heights
    times = np.unique(cells.time[after])
    clouds = [law_at(cells, float(t)) for t in times]
    for t, log_density in zip(times, log_densities(clouds, random_state), strict=True):
        here = cells.time == t
        heights[here] = -log_density(cells.x[here])
    return heights
