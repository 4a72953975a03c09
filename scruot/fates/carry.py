"""Fates of cells that a fitted model carries: by simulation with noise, or through flow plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scruot.dynamics.model import Dynamics
from scruot.dynamics.passage import require_finite
from scruot.fates.classify import StateClassifier
from scruot.fates.growth import Wrapper
from scruot.fates.metric import fate_settings, in_metric
from scruot.fates.plan import ITERATIONS, FatePlan, automatic_plan
from scruot.transport import AutoSettings

__all__ = ["flow_plan", "simulated_fates"]

Array = NDArray[np.float64]

_PARTICLES = 25_000  # that are carried at once: the paths of their noise are kept as well
_ENTRIES = 4_000_000  # of a kernel that are held at once
_STEP = 0.1  # of the mean interval: classes of end points need no finer one


def flow_plan(
    model: Dynamics,
    xs: Sequence[Tensor],
    weights: Sequence[Tensor],
    times: Sequence[float],
    *,
    states: Sequence[NDArray[np.integer]] | None = None,
    settings: AutoSettings | None = None,
    iterations: int = ITERATIONS,
    random_state: int = 0,
    each: Wrapper | None = None,
) -> FatePlan:
    r"""Couple cells that a flow has moved on by one interval with those that are observed there.

    A flow sends a cell to one point, and its fate would be certain. So it is followed over one
    interval only, from observed cells to the next observed time, and its end points
    are coupled with the observed cells :math:`z_j`, with the metric and the noise of
    :func:`scruot.fates.automatic_plan` and the growth of the model as the first expectation. Fates
    are read from the chain of these plans.

    A flow also sorts cells by where they happen to be within the noise, and spreads them over all
    that is observed next: what noise has done is told as if it had been bound to come. So the end
    point of a cell is the mean over cells that it cannot be told from,

    .. math:: \bar\phi(x_i) = \frac{\sum_j e^{-|x_i - x_j|^2 / \epsilon} \phi(x_j)}
                               {\sum_j e^{-|x_i - x_j|^2 / \epsilon}},

    with the same :math:`\epsilon`, and the cost is :math:`|\bar\phi(x_i) - z_j|^2`.

    Parameters
    ----------
    model
        A fitted model; of a stochastic one the velocity is followed.
    xs, weights, times, states, settings
        Snapshots, as in :func:`scruot.fates.automatic_plan`.
    iterations, random_state, each
        As there.

    Returns
    -------
    The plans, settings and growth.
    """
    found = fate_settings(xs, weights, times, states) if settings is None else settings
    moved, rates = [], []
    for k in range(len(xs) - 1):
        x, factor = _moved(model, xs[k], times[k], times[k + 1])
        moved.append(_blurred(in_metric(xs[k], found), in_metric(x, found), found.reg[k]))
        rates.append(np.log(factor.numpy().clip(1e-12)) / (times[k + 1] - times[k]))
    return automatic_plan(
        xs,
        weights,
        times,
        settings=found,
        rates=rates,
        moved=moved,
        iterations=iterations,
        random_state=random_state,
        each=each,
    )


def _blurred(here: Tensor, ahead: Tensor, eps: float) -> Tensor:
    """Average end points over cells that noise might have exchanged, in blocks of rows."""
    parts = []
    for rows in torch.arange(len(here)).split(max(1, _ENTRIES // len(here))):
        kernel = torch.softmax(-torch.cdist(here[rows], here).square_() / eps, dim=1)
        parts.append(kernel @ ahead)
    return torch.cat(parts)


def _moved(model: Dynamics, x: Tensor, start: float, stop: float) -> tuple[Tensor, Tensor]:
    """Return cells one interval on, and their growth over it."""
    ones = torch.ones(len(x), dtype=torch.float32)
    run = model.simulate(
        x.cpu().float(), [start, stop], weights=ones, stochastic=False, step=_STEP * _unit(model)
    )
    require_finite(run)
    return run.x[-1], run.weights[-1].double()


def simulated_fates(
    model: Dynamics,
    x: NDArray[np.floating],
    start: float,
    exits: Mapping[float, StateClassifier],
    *,
    metric: Tensor,
    n_simulations: int = 100,
    random_state: int = 0,
) -> tuple[Array, Array]:
    """Simulate cells with noise to where they leave, and count their descendants by fate.

    Parameters
    ----------
    model
        A stochastic model.
    x
        Cells of one time in the fitted representation, shape ``(n, d)``.
    start
        Their time.
    exits
        Classifier of each time at which states end, later than ``start``; what is in none of the
        states goes on to the next.
    metric
        Map of the coordinates into those of the classifiers, shape ``(d, k)``.
    n_simulations
        Simulations of each cell.
    random_state
        Seed of the noise.

    Returns
    -------
    Mass of the descendants by fate, and in none at the last exit, over that of the cell, shape
    ``(n, F + 1)``; standard errors of the shares that they make, from the simulations alone.
    """
    axes = metric.double().cpu().numpy()
    times = [start, *sorted(exits)]
    rows = max(1, _PARTICLES // n_simulations)
    means, errors = [], []
    for block, begin in enumerate(range(0, len(x), rows)):
        part = np.repeat(np.asarray(x[begin : begin + rows]), n_simulations, axis=0)
        run = model.simulate(
            part,
            times,
            weights=np.ones(len(part), dtype=np.float32),
            stochastic=True,
            step=_STEP * _unit(model),
            random_state=random_state + block,
        )
        require_finite(run)
        counted = _count(run.x.numpy(), run.weights.numpy(), [exits[t] for t in times[1:]], axes)
        grouped = counted.reshape(-1, n_simulations, counted.shape[1])
        means.append(grouped.mean(1))
        errors.append(_errors(grouped))
    return np.concatenate(means), np.concatenate(errors)


def _count(
    x: NDArray[np.floating],
    weights: NDArray[np.floating],
    exits: Sequence[StateClassifier],
    axes: Array,
) -> Array:
    """Return the mass of every particle by fate; what is in no state goes on."""
    left = np.ones(x.shape[1])
    total: Array | None = None
    for k, classifier in enumerate(exits):
        classes = classifier.predict(x[k + 1].astype(np.float64) @ axes)
        mass = weights[k + 1].astype(np.float64)[:, None] * left[:, None] * classes
        left = left * classes[:, -1]
        if k + 1 < len(exits):
            mass[:, -1] = 0.0
        total = mass if total is None else total + mass
    assert total is not None
    return total


def _errors(mass: Array) -> Array:
    """Return standard errors of ratios of means over simulations, shape (n, F + 1)."""
    mean = mass.mean(1)
    total = mean.sum(1, keepdims=True).clip(1e-300)
    share = mean / total
    residual = mass - share[:, None, :] * mass.sum(2, keepdims=True)
    return np.asarray(residual.std(1) / total / np.sqrt(mass.shape[1]), dtype=np.float64)


def _unit(model: Dynamics) -> float:
    return model.scale.time
