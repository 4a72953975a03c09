"""A continuous time for every cell, from the law of a fitted model."""

from __future__ import annotations

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from scruot._checks import check_seed, whole
from scruot._keys import slots
from scruot.io.store import check_writable, writable
from scruot.tl._fitted import FittedCells, read_fitted
from scruot.tl._law import Law, carried_law

# pieces of each interval
_BETWEEN = 10
# by default so large a part of the law's states of a window are neighbours of a cell
_PART = 0.015
_FEWEST = 30
# rows at once: bounds the memory of neighbours
_NUMBERS = 5_000_000


def pseudotime_from_dynamics(
    adata: AnnData,
    *,
    key: str | None = None,
    window: float | None = None,
    n_neighbors: int | None = None,
    n_cells: int = 1000,
    random_state: int = 0,
    device: str = "auto",
    copy: bool = False,
) -> AnnData | None:
    r"""Give each cell the time at which the law of the model passes through it.

    Cells of one day are not equally far, and trends over a few days are steps. The model fills
    the days in: its law :math:`p_s(x)` is known at every time `s`. A cell seen at `x` on day `t`
    gets the posterior mean

    .. math:: \hat s = \int_{t-W}^{t+W} s\, p_s(x)\, ds \Big/ \int_{t-W}^{t+W} p_s(x)\, ds,

    with a flat prior on the window around its day. If cells run ahead of and behind their day by
    times of a symmetric distribution that is the same for all days, this is the cell's own time,
    at any speed and without the shrinkage that a bell-shaped prior would bring. The law is
    that of observed cells carried along the flow from the day before and from the day after;
    :math:`p_s(x)` is compared between times through the nearest states of all of them, which
    needs no density in many dimensions.

    Parameters
    ----------
    adata
        Cells with a fit.
    key
        ``key_added`` of the fit.
    window
        `W` in the unit of the fit: how far a cell's time may be from its day. By default twice
        the longest interval next to the day. Wide enough, it does not matter; a process that
        returns to where it was needs it to be shorter than the return.
    n_neighbors
        States of the law that tell a cell's time, by default 1.5 % of those in the window.
    n_cells
        At most so many observed cells of each day are carried, drawn at random.
    random_state
        Seed of that draw.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    copy
        Whether to return a copy of ``adata`` instead of writing to it.

    Returns
    -------
    ``None``, or the copy. Written:

    ``obs["dynamics_pseudotime"]`` : float
        In the unit of the fit. It may lie up to one interval before the first and after the last
        fitted time, where the field of that time is kept as it is.
    ``obs["dynamics_pseudotime_std"]`` : float
        Standard deviation of the posterior: how far times are that the same state may have.

    Raises
    ------
    KeyError
        When there is no such fit.
    ValueError
        For a parameter out of range, a fitted time without cells, or when the representation has
        changed since the fit.

    Notes
    -----
    What makes cells of a day differ along the flow is read as time. Noise of the measurement
    along it is, too: it makes times less exact, but not biased. Where the population grows
    along the way, all times come out early by the same amount, growth rate times the variance
    of the cells' own times: those ahead have more descendants, and are taken for the average.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(100, random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> scruot.tl.pseudotime_from_dynamics(adata)
    >>> mean = adata.obs.groupby("time")["dynamics_pseudotime"].mean()
    >>> bool(mean.is_monotonic_increasing)
    True
    """
    random_state = check_seed(random_state)
    whole("n_neighbors", n_neighbors, optional=True)
    whole("n_cells", n_cells)
    if window is not None and not (isinstance(window, (int, float)) and 0 < window < np.inf):
        msg = f"Found window={window!r}; expected a positive duration in the unit of the fit."
        raise ValueError(msg)
    check_writable(adata, copy=copy)
    cells = read_fitted(adata, key, device)
    rng = np.random.default_rng(random_state)
    law = carried_law(cells, n_between=_BETWEEN, n_cells=n_cells, rng=rng)
    mean, std = np.full((2, adata.n_obs), np.nan)
    for day in np.unique(cells.time):
        width = _window(cells, float(day)) if window is None else window
        here = cells.time == day
        near = law.between(day - width, day + width)
        if len(near.x) == 0:
            continue
        mean[here], std[here] = _posterior(near, cells.x[here], n_neighbors)
    names = slots(key)
    written = writable(adata, copy=copy)
    written.obs[names.pseudotime] = mean
    written.obs[names.pseudotime_std] = std
    return written if copy else None


def _window(cells: FittedCells, day: float) -> float:
    times = np.asarray(cells.model.times)
    after = int(np.clip(np.searchsorted(times, day, side="right"), 1, len(times) - 1))
    before = int(np.clip(np.searchsorted(times, day, side="left"), 1, len(times) - 1))
    return 2 * float(max(times[k] - times[k - 1] for k in (before, after)))


def _posterior(
    law: Law, x: NDArray[np.floating], n_neighbors: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the times of the nearest states."""
    k = n_neighbors or max(_FEWEST, round(_PART * len(law.x)))
    k = min(k, len(law.x))
    nearest = NearestNeighbors(n_neighbors=k).fit(law.x)
    mean, std = np.empty((2, len(x)))
    rows = max(1, _NUMBERS // k)
    for first in range(0, len(x), rows):
        block = slice(first, first + rows)
        index = nearest.kneighbors(x[block], return_distance=False)
        # a state of no weight at all tells nothing; where all are such, they count alike
        weight = law.weight[index] + np.finfo(float).tiny
        weight /= weight.sum(axis=1, keepdims=True)
        time = law.time[index]
        centre = (weight * time).sum(axis=1)
        mean[block] = centre
        std[block] = np.sqrt((weight * (time - centre[:, None]) ** 2).sum(axis=1))
    return mean, std
