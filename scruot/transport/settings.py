"""Metric and noise of a chain of entropic couplings, from the snapshots alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from scruot.transport.checks import check_clouds
from scruot.transport.cost import squared_distances

__all__ = ["AutoSettings", "auto_settings"]

_MOST_DIMS = 10
_RIDGE = 0.1  # of the largest variance of the progenitors
_SPREAD, _CLOSE = 0.4, 0.8  # eps over the spread of a snapshot, and over near distances
_NEAREST = 0.1  # share of a snapshot that counts as near
_SOFTNESS = 30.0  # price of source mass over eps
_MOST_QUERIES = 2000


@dataclass(frozen=True, eq=False)
class AutoSettings:
    """What :func:`auto_settings` finds.

    Attributes
    ----------
    metric
        Linear map of the coordinates, shape ``(d, k)``: couple ``x @ metric``.
    reg
        Regularisation of each interval, in squared units of ``x @ metric``.
    tau
        Price of source mass of each interval, in the same units; the target side is exact.
    spread_over_near
        Smallest total variance of a snapshot over the near distances; beyond about 2 no snapshot
        looks like progenitors, and the couplings are smoothed too much.
    """

    metric: Tensor
    reg: list[float]
    tau: list[float]
    spread_over_near: float


def auto_settings(
    xs: Sequence[Tensor], weights: Sequence[Tensor], times: Sequence[float]
) -> AutoSettings:
    r"""Metric, noise and softness for couplings in the manner of Waddington-OT.

    1. Metric: the first ``min(10, d)`` principal components of all cells, whitened by the
       covariance of the snapshot of least total variance (the progenitors) plus a ridge of a tenth
       of its largest eigenvalue. What varies among progenitors is taken for noise.
    2. Noise: :math:`\epsilon_0 = \min(0.4\, V,\ 0.8\, k)`, with :math:`V` the least total variance
       of a snapshot and :math:`k` the least, over snapshots, of the median over cells of the mean
       squared distance to the nearest tenth of the snapshot; both in that metric.
    3. One sigma for all intervals: :math:`\epsilon_k = \epsilon_0\,\Delta t_k /
       \mathrm{median}(\Delta t)`, as :math:`\epsilon = 2\sigma^2\Delta t`; never divided by the
       mean cost of the interval.
    4. Source masses at the price :math:`30\,\epsilon_k` (KL), target masses exact; iterate the
       growth (solve, take row masses for the next prior, smoothed over neighbours) about three
       times.
    5. Fates: the composed plans applied to the labels of the last snapshot.

    The rule uses no truth, but its constants were chosen on simulations of one family, three fates
    from two nested forks in 10 to 50 dimensions (:func:`scruot.datasets.branching`). On further
    draws of it fates of the third of five times, and all fates in 50 dimensions, were better than
    with a share of the mean cost (:func:`auto_reg`); early ones in 10 dimensions slightly worse.
    Without a snapshot of progenitors the rule smooths too much, and where fates differ in
    directions in which the progenitors vary it has no reason to be good.

    Parameters
    ----------
    xs
        Two or more snapshots in time order, each of shape ``(n_k, d)``.
    weights
        Mass of each cell, each of shape ``(n_k,)``; only their ratios within a snapshot count.
    times
        Time of each snapshot, increasing.

    Returns
    -------
    The settings, on the device of the snapshots.

    Raises
    ------
    ValueError
        If there are fewer than two snapshots, or times do not increase, or a snapshot has no mass.

    Examples
    --------
    >>> import torch
    >>> rng = torch.Generator().manual_seed(0)
    >>> xs = [torch.randn(50, 3, generator=rng) * (1 + k) for k in range(3)]
    >>> found = auto_settings(xs, [torch.ones(50)] * 3, [0.0, 1.0, 3.0])
    >>> found.metric.shape, round(found.reg[1] / found.reg[0], 3)
    (torch.Size([3, 3]), 2.0)
    """
    durations = _durations(xs, weights, times)
    clouds = [_working(x) for x in xs]
    shares = [_working(w) for w in weights]
    shares = [w / w.sum() for w in shares]
    metric = _metric(clouds, shares)
    flat = [x @ metric for x in clouds]
    spread = min(
        float(_covariance(x, w).diagonal().sum()) for x, w in zip(flat, shares, strict=True)
    )
    near = min(_near(x[w > 0]) for x, w in zip(flat, shares, strict=True))
    eps = min(_SPREAD * spread, _CLOSE * near) if near > 0 else _SPREAD * spread
    if not eps > 0:
        msg = "Found a snapshot whose cells are all alike; expected cells that differ."
        raise ValueError(msg)
    reg = [eps * duration / median(durations) for duration in durations]
    ratio = spread / near if near > 0 else math.inf
    return AutoSettings(metric.to(xs[0].device), reg, [_SOFTNESS * r for r in reg], ratio)


def _durations(
    xs: Sequence[Tensor], weights: Sequence[Tensor], times: Sequence[float]
) -> list[float]:
    if len(xs) < 2 or not len(xs) == len(weights) == len(times):
        msg = (
            f"Found {len(xs)} snapshots, {len(weights)} weights and {len(times)} times, expected "
            "two or more of each."
        )
        raise ValueError(msg)
    for x, w in zip(xs, weights, strict=True):
        check_clouds(x, xs[0], w, weights[0])
        if not float(w.sum()) > 0:
            msg = "Found a snapshot without mass; leave it out."
            raise ValueError(msg)
    durations = [float(late) - float(early) for early, late in pairwise(times)]
    if not all(math.isfinite(d) and d > 0 for d in durations):
        msg = f"Found times {[float(t) for t in times]}, expected them to increase."
        raise ValueError(msg)
    return durations


def _working(x: Tensor) -> Tensor:
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)


def _covariance(x: Tensor, share: Tensor) -> Tensor:
    centred = x - share @ x
    return centred.T @ (share[:, None] * centred)


def _metric(clouds: list[Tensor], shares: list[Tensor]) -> Tensor:
    """Principal components of all cells, whitened by the narrowest snapshot."""
    everything = torch.cat(clouds)
    pooled = torch.cat([w * len(w) for w in shares])
    _, axes = torch.linalg.eigh(_covariance(everything, pooled / pooled.sum()))
    axes = axes.flip(1)[:, : min(_MOST_DIMS, everything.shape[1])]
    spreads = [_covariance(x @ axes, w) for x, w in zip(clouds, shares, strict=True)]
    narrow = min(spreads, key=lambda c: float(c.diagonal().sum()))
    variance, turn = torch.linalg.eigh(narrow)
    scale = variance.clamp_min(0.0) + _RIDGE * variance[-1]
    if not float(variance[-1]) > 0:
        msg = "Found a snapshot whose cells are all alike; expected cells that differ."
        raise ValueError(msg)
    metric: Tensor = axes @ (turn / scale.sqrt())
    return metric


def _near(x: Tensor) -> float:
    """Median over cells of the mean squared distance to the nearest tenth of their snapshot."""
    if len(x) < 2:
        return math.inf
    k = max(1, round(_NEAREST * (len(x) - 1)))
    chosen = x[:: max(1, math.ceil(len(x) / _MOST_QUERIES))]
    centre = x.mean(0)
    step = max(1, 4_000_000 // len(x))
    means = []
    for part in chosen.split(step):
        nearest = squared_distances(part - centre, x - centre).topk(k + 1, largest=False).values
        means.append(nearest.sum(1) / k)  # a cell's own distance is zero
    return float(torch.cat(means).median())
