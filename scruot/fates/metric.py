"""Metric and noise of fates: what varies within a state is noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor

from scruot.transport import AutoSettings, auto_settings

__all__ = ["FORGETTING", "SOFTNESS", "fate_settings", "for_times", "in_metric"]

Array = NDArray[np.float64]

# Two independent draws from a state differ by twice its variance, v = 2, in every whitened
# direction, and a kernel of variance v is exp(-|x - y|^2 / (2 v)).
FORGETTING = 4.0
SOFTNESS = 100.0  # price over eps of source mass beyond the growth that was learned
_MOST_DIMS = 50
_CELLS_PER_DIM = 5
_RIDGE = 1e-6


def fate_settings(
    xs: Sequence[Tensor],
    weights: Sequence[Tensor],
    times: Sequence[float],
    states: Sequence[NDArray[np.integer]] | None = None,
) -> AutoSettings:
    r"""Metric, noise and softness of couplings that lead to fates, from the terminal states.

    1. Metric: linear discriminants. Let :math:`S` be the covariance within the terminal states and
       :math:`B` the mean covariance of the snapshots plus that of the centres of the states. In the
       leading principal components (at most 50, with five labelled cells for each) the directions
       :math:`B v = \lambda S v` are kept that tell the states apart, the first :math:`F - 1`, and
       those along which snapshots vary more than states do: :math:`\lambda` beyond the edge of
       what chance gives (Wachter's law). They are scaled to unit variance within states.
    2. Noise: over an interval of median length cells forget where they are within a state, so that
       a displacement has the variance of the difference of two independent draws from it, 2 in
       each direction: :math:`\epsilon_k = 4\, \Delta t_k / \mathrm{median}(\Delta t)`.
    3. Source masses at the price :math:`100\,\epsilon_k` (KL), target masses exact: once growth is
       learned, plans keep to it.

    Without ``states``, or where they have too few cells to tell a variance, the rule of
    :func:`scruot.transport.auto_settings` takes the narrowest snapshot for one state.

    Parameters
    ----------
    xs
        Two or more snapshots in time order, each of shape ``(n_k, d)``.
    weights
        Mass of each cell, each of shape ``(n_k,)``.
    times
        Time of each snapshot, increasing.
    states
        Terminal state of each cell, each of shape ``(n_k,)``; -1 for none.

    Returns
    -------
    The settings; ``spread_over_near`` is that of :func:`scruot.transport.auto_settings`.

    References
    ----------
    Fisher (1936), Annals of Eugenics 7, 179-188 :cite:p:`fisher1936`. Wachter (1980), Annals of
    Statistics 8, 937-957 :cite:p:`wachter1980`.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> rng = np.random.default_rng(0)
    >>> state = np.repeat([0, 1], 100)
    >>> end = rng.normal(size=(200, 5)) + 4 * state[:, None] * np.eye(5)[0]
    >>> xs = [torch.tensor(rng.normal(size=(100, 5))), torch.tensor(end)]
    >>> ones = [torch.ones(len(x)) for x in xs]
    >>> found = fate_settings(xs, ones, [0.0, 1.0], [np.full(100, -1), state])
    >>> found.metric.shape, found.reg
    (torch.Size([5, 1]), [4.0])
    """
    basic = auto_settings(xs, weights, times)
    if states is None:
        return basic
    clouds = [_plain(x) for x in xs]
    shares = [_plain(w) / float(w.sum()) for w in weights]
    metric = _discriminants(clouds, shares, [np.asarray(s) for s in states])
    if metric is None:
        return basic
    durations = [late - early for early, late in pairwise(times)]
    reg = [FORGETTING * duration / median(durations) for duration in durations]
    return AutoSettings(
        torch.from_numpy(metric).to(xs[0].device),
        reg,
        [SOFTNESS * r for r in reg],
        basic.spread_over_near,
    )


def for_times(settings: AutoSettings, times: Sequence[float], own: Sequence[float]) -> AutoSettings:
    """Return settings that were found for some times for intervals between others.

    Noise and softness are proportional to the length of an interval, the metric is the same.
    """
    unit = times[1] - times[0]
    lengths = [(late - early) / unit for early, late in pairwise(own)]
    return replace(
        settings,
        reg=[settings.reg[0] * length for length in lengths],
        tau=[settings.tau[0] * length for length in lengths],
    )


def in_metric(x: Tensor, settings: AutoSettings) -> Tensor:
    """Return coordinates in which squared distances are those of the rule, on the CPU."""
    return x.cpu().double() @ settings.metric.cpu().double()


def _discriminants(
    clouds: Sequence[Array], shares: Sequence[Array], states: Sequence[NDArray[np.integer]]
) -> Array | None:
    """Return the directions, shape (d, k); ``None`` where states have too few cells."""
    everything, state = np.vstack(clouds), np.concatenate(states)
    names, counts = np.unique(state[state >= 0], return_counts=True)
    spare = int((counts - 1).sum())
    n_dims = min(everything.shape[1], _MOST_DIMS, spare // _CELLS_PER_DIM)
    if len(names) < 2 or n_dims < len(names) - 1 or n_dims < 1:
        return None
    axes = _components(clouds, shares, n_dims)
    flat = everything @ axes
    centres = np.stack([flat[state == f].mean(0) for f in names])
    within = np.zeros((n_dims, n_dims))
    for f, centre in zip(names, centres, strict=True):
        part = flat[state == f] - centre
        within += part.T @ part / spare
    scale = float(np.trace(within)) / n_dims
    if not scale > 0:
        return None
    within += _RIDGE * scale * np.eye(n_dims)
    between = np.cov(centres.T, bias=True).reshape(n_dims, n_dims)
    spread = np.mean(
        [_covariance(x @ axes, w) for x, w in zip(clouds, shares, strict=True)], axis=0
    )
    value, vector = eigh(spread + between, within)
    value, vector = value[::-1], vector[:, ::-1]
    kept = value > _edge(n_dims / len(flat), n_dims / spare)
    kept[: len(names) - 1] = True
    return np.asarray(axes @ vector[:, kept], dtype=np.float64)


def _edge(numerator: float, denominator: float) -> float:
    """Return the largest eigenvalue that two covariances of the same law would have by chance."""
    root = math.sqrt(numerator + denominator - numerator * denominator)
    return ((1.0 + root) / (1.0 - denominator)) ** 2


def _components(clouds: Sequence[Array], shares: Sequence[Array], n_dims: int) -> Array:
    pooled = np.concatenate([w * len(w) for w in shares])
    _, axes = np.linalg.eigh(_covariance(np.vstack(clouds), pooled / pooled.sum()))
    return np.asarray(axes[:, ::-1][:, :n_dims], dtype=np.float64)


def _covariance(x: Array, share: Array) -> Array:
    centred = x - share @ x
    return np.asarray(centred.T @ (share[:, None] * centred), dtype=np.float64)


def _plain(x: Tensor) -> Array:
    return np.asarray(x.detach().cpu().double().numpy(), dtype=np.float64)
