"""Cells coloured by the learned potential."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from scruot.io.store import fitted_representation, read_model, read_record
from scruot.pl import _read
from scruot.pl._colors import diverging
from scruot.pl._figure import dress_embedding, finish, new_axes
from scruot.pl._layers import numbered_cells

__all__ = ["potential"]

# grey in the middle, where others are as white as the page
_MAP = "coolwarm"


def potential(
    adata: AnnData,
    basis: str | None = None,
    *,
    key: str | None = None,
    time: float | None = None,
    times: Iterable[Any] | None = None,
    components: tuple[int, int] = (1, 2),
    vmax: float | None = None,
    cmap: str | Colormap | None = None,
    size: float | None = None,
    alpha: float = 1.0,
    colorbar: bool = True,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes | None:
    """Draw the cells coloured by the learned potential, with 0 in the middle of the colour map.

    At a given time cells climb the potential, and red cells, where it is above zero, multiply.

    Parameters
    ----------
    adata
        Annotated data with a fit of a method that learns a potential (``"varruot"``).
    basis
        Where to draw: any embedding in ``obsm``, as ``"umap"`` or ``"X_umap"``. By default the
        fitted representation.
    key
        ``key_added`` of the fit.
    time
        Show the potential of this one time at the positions of all cells that are drawn, as if
        they all lived then. By default every cell has its own time.
    times
        Only draw the cells of these times.
    components
        Which two dimensions of the basis to draw, counted from 1.
    vmax
        The colours end at ``-vmax`` and ``vmax``, in squared units of the representation per
        unit of time. By default at the 99th percentile of the absolute potential.
    cmap
        A diverging colour map, by default ``"coolwarm"``.
    size
        Area of a cell's dot in points squared.
    alpha
        Opacity of the cells.
    colorbar
        Whether to explain the colours.
    title
        Title of the axes.
    figsize
        Width and height in inches, by default a single column of a journal.
    ax
        Axes to draw into.
    show
        Whether to show the figure. By default it is shown unless `ax` or `save` is given.
    save
        File to write; the suffix names the format.

    Returns
    -------
    The axes, or ``None`` when the figure was shown.

    Raises
    ------
    KeyError
        When there is no fit, its method learned no potential, or there is no such basis.
    ValueError
        When `time` is no number.

    References
    ----------
    Sun et al. (2025), Variational regularized unbalanced optimal transport: single network, least
    action, NeurIPS :cite:p:`sun2025varruot`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> short = {"steps": 10, "rollout_steps": 1, "score_steps": 10}
    >>> scruot.tl.fit_dynamics(adata, "varruot", use_rep="X_genes", progress=False, **short)
    >>> ax = scruot.pl.potential(adata, time=0.5, show=False)
    >>> ax.get_xlabel()
    'genes1'
    """
    fitted = _read.fit(adata, key)
    values = _values(adata, fitted, time)
    cells = numbered_cells(adata, fitted, values, "a finite potential", basis, times, components)
    mappable = diverging(cells.values, vmax, cmap or _MAP)
    axes = new_axes(ax, figsize)
    label = "potential"
    if time is not None:
        label += f" at {fitted.time_key} {_read.time_text(time)}"
    cells.draw(axes, mappable, label if colorbar else None, size=size, alpha=alpha)
    dress_embedding(axes, cells.basis, components, title)
    return finish(axes, given=ax is not None, show=show, save=save)


def _values(adata: AnnData, fitted: _read.Fit, time: float | None) -> NDArray[np.float64]:
    name = fitted.slots.potential
    if name not in adata.obs:
        record = read_record(adata, fitted.slots.key)
        msg = (
            f"Found no potential (adata.obs[{name!r}] is missing; {record['method']!r} learns "
            "none). Run scruot.tl.fit_dynamics(adata, 'varruot') first."
        )
        raise KeyError(msg)
    if time is None:
        return adata.obs[name].to_numpy(dtype=float, na_value=np.nan)
    if not isinstance(time, (int, float, np.number)) or not np.isfinite(time):
        msg = f"Found time={time!r}; expected one number in the unit of the fit."
        raise ValueError(msg)
    x = fitted_representation(adata, read_record(adata, fitted.slots.key))
    model = read_model(adata, fitted.slots.key)
    return model.potential(float(time), x).astype(float)
