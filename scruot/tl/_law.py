"""The law of a fitted model at many times, as observed cells carried from where they were seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scruot.dynamics.model import Dynamics
from scruot.dynamics.passage import require_finite
from scruot.dynamics.simulate import Trajectories, integrate_flow
from scruot.tl._clouds import subset
from scruot.tl._fitted import FittedCells

# of the mean interval: the step of the flow
_STEP = 0.1


@dataclass(frozen=True, eq=False)
class Law:
    """Weighted states at many times; the weights at each time sum to the time it stands for.

    Parameters
    ----------
    x
        States (m, d).
    time
        Their times (m,).
    weight
        Their weights (m,).
    """

    x: NDArray[np.float32]
    time: NDArray[np.float64]
    weight: NDArray[np.float64]

    def between(self, start: float, stop: float) -> Law:
        """Keep the states of some times, both ends among them."""
        margin = 1e-9 * (1 + abs(stop - start))
        kept = (self.time >= start - margin) & (self.time <= stop + margin)
        return Law(self.x[kept], self.time[kept], self.weight[kept])


def carried_law(
    cells: FittedCells, *, n_between: int, n_cells: int, rng: np.random.Generator
) -> Law:
    """Return the law between the fitted times, and one interval beyond the first and the last.

    Between two fitted times the cells of both are carried along the flow, those of the earlier
    time forwards and those of the later backwards, with weights that go over from one to the
    other: the law passes through the snapshots themselves, and no error adds up over several
    intervals. Beyond both ends the field of the end is kept as it is there.

    Parameters
    ----------
    cells
        The fit and its cells.
    n_between
        Pieces of each interval.
    n_cells
        At most so many cells of each time, drawn at random.
    rng
        For the draw.
    """
    model = cells.model
    times = [float(t) for t in model.times]
    starts = [_start(cells, t, n_cells, rng) for t in times]
    parts: list[tuple[Trajectories, NDArray[np.float64]]] = []
    share = np.linspace(0, 1, n_between + 1)
    for k in range(len(times) - 1):
        grid = times[k] + (times[k + 1] - times[k]) * share
        forward = _flow(model, starts[k], grid)
        # the later snapshot is the next interval's first
        first = slice(0, n_between)
        parts.append((_sliced(forward, first), 1 - share[first]))
        backward = _flow(model, starts[k + 1], grid[::-1])
        inner = slice(1, n_between)
        parts.append((_sliced(backward, inner), 1 - share[inner]))
    for end, neighbour in ((0, 1), (-1, -2)):
        beyond = 2 * times[end] - times[neighbour]
        grid = times[end] + (beyond - times[end]) * share
        run = _frozen(model, starts[end], grid, times[end])
        parts.append((_sliced(run, slice(0 if end else 1, None)), np.ones(n_between + bool(end))))
    for run, _ in parts:
        require_finite(run)
    return _stacked(parts)


def _start(
    cells: FittedCells, time: float, n_cells: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rows = np.flatnonzero(cells.reference & (cells.time == time) & (cells.mass > 0))
    if len(rows) == 0:
        msg = (
            f"Found no cells at the fitted time {time:g}; expected some of every fitted time, as "
            "the law of the model is followed from them."
        )
        raise ValueError(msg)
    rows = rows[subset(len(rows), n_cells, rng)]
    return cells.x[rows], cells.mass[rows] / cells.mass[rows].sum()


def _flow(
    model: Dynamics,
    start: tuple[NDArray[np.float32], NDArray[np.float64]],
    grid: NDArray[np.float64],
) -> Trajectories:
    x, weights = start
    return model.simulate(
        x, list(grid), weights=weights.astype(np.float32), stochastic=False, step=_step(model)
    )


def _step(model: Dynamics) -> float:
    return _STEP * model.scale.time


def _frozen(
    model: Dynamics,
    start: tuple[NDArray[np.float32], NDArray[np.float64]],
    grid: NDArray[np.float64],
    time: float,
) -> Trajectories:
    """Follow the field of one time, as if it did not change."""

    def rates(_: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return model.velocity(time, x), model.growth(time, x)

    x = torch.from_numpy(start[0])
    logs = torch.from_numpy(start[1]).float().log()
    states, logs = integrate_flow(rates, x, logs, [float(t) for t in grid], _step(model))
    return Trajectories(torch.from_numpy(grid.copy()), states, logs.exp())


def _sliced(run: Trajectories, kept: slice) -> Trajectories:
    return Trajectories(run.times[kept], run.x[kept], run.weights[kept])


def _stacked(parts: list[tuple[Trajectories, NDArray[np.float64]]]) -> Law:
    """Stack everything; all times count alike per unit of time."""
    grid = np.unique(np.concatenate([run.times.numpy() for run, _ in parts]).round(12))
    spacing = np.gradient(grid)
    xs, times, weights = [], [], []
    for run, shares in parts:
        for t, x, weight, share in zip(run.times, run.x, run.weights, shares, strict=True):
            time = float(t)
            mass = weight.double().numpy()
            xs.append(x.numpy())
            times.append(np.full(len(mass), time))
            width = float(np.interp(time, grid, spacing))
            weights.append(mass / mass.sum() * share * width)
    return Law(
        np.concatenate(xs).astype(np.float32), np.concatenate(times), np.concatenate(weights)
    )
