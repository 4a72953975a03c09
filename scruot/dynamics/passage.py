"""A model carried through time once, with the action that it spends on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from scruot.dynamics.model import Dynamics
from scruot.dynamics.simulate import Trajectories

# numbers of one chunk of trajectories: bounds memory at any number of cells
_NUMBERS = 20_000_000

# between nodes of the action's integral, in mean intervals
_SPACING = 0.04


@dataclass(frozen=True)
class Passage:
    """Particles at the times asked for.

    Parameters
    ----------
    x
        States, shape (T, n, d).
    weights
        Masses, shape (T, n).
    action
        ``int sum_i w_i 1/2 (|b|^2 + delta^2 g^2) dt``, in units of length squared per time
        and of initial mass; NaN when ``delta`` is needed and unknown.
    """

    x: NDArray[np.float64]
    weights: NDArray[np.float64]
    action: float


def passage(
    dynamics: Dynamics,
    x0: NDArray[np.floating],
    times: list[float],
    *,
    weights: NDArray[np.float64],
    delta: float | None,
    until: float,
    step: float | str | None = None,
    random_state: int = 0,
) -> Passage:
    """Carry particles through ``times`` without a restart.

    Parameters
    ----------
    dynamics
        The model.
    x0
        States at the first time, shape (n, d).
    times
        At least two increasing times.
    weights
        Masses at the first time, shape (n,).
    delta
        Length that weighs growth against displacement; ``None`` when the method has none.
    until
        The action is counted up to this time, one of ``times``.
    step
        As in :meth:`Dynamics.simulate`.
    random_state
        Seed of the noise, where there is any.

    Returns
    -------
    The particles, and the action by the trapezoid rule over times at most ``step`` (4 % of
    the mean interval) apart.

    Raises
    ------
    RuntimeError
        When the simulation leaves the finite numbers.
    """
    spacing = step if isinstance(step, (int, float)) else _SPACING * dynamics.scale.time
    nodes, asked = _refine(times, spacing)
    known = delta is not None or "growth" not in dynamics.learns
    rows = max(1, _NUMBERS // (len(nodes) * dynamics.dim))
    states, masses, action = [], [], 0.0
    for chunk, first in enumerate(range(0, len(x0), rows)):
        here = slice(first, first + rows)
        run = dynamics.simulate(
            np.asarray(x0[here]),
            nodes,
            weights=np.asarray(weights[here]),
            step=step,
            random_state=random_state + chunk,
        )
        require_finite(run)
        states.append(run.x[asked].double().numpy())
        masses.append(run.weights[asked].double().numpy())
        if known:
            action += _action(dynamics, run, 0.0 if delta is None else delta, until)
    return Passage(
        np.concatenate(states, axis=1),
        np.concatenate(masses, axis=1),
        action if known else math.nan,
    )


def require_finite(run: Trajectories) -> None:
    """Refuse a simulation that has blown up.

    Raises
    ------
    RuntimeError
        When states or weights are not finite.
    """
    finite = torch.isfinite(run.x).all(2).all(1) & torch.isfinite(run.weights).all(1)
    if not bool(finite.all()):
        when = float(run.times[~finite][0])
        msg = (
            f"The simulation left the finite numbers by time {when:g}: the model drives cells "
            "away there. Give a smaller step, or fit again (more steps, a lower learning rate)."
        )
        raise RuntimeError(msg)


def _refine(times: list[float], step: float) -> tuple[list[float], list[int]]:
    """Return times at most ``step`` apart, and where those asked for are among them."""
    nodes, asked = [times[0]], [0]
    for start, stop in pairwise(times):
        n_steps = max(1, math.ceil((stop - start) / step - 1e-9))
        nodes += [start + (stop - start) * i / n_steps for i in range(1, n_steps)] + [stop]
        asked.append(len(nodes) - 1)
    return nodes, asked


def _action(dynamics: Dynamics, run: Trajectories, delta: float, until: float) -> float:
    move = dynamics.drift if dynamics.stochastic else dynamics.velocity
    times = run.times[run.times <= until]
    rate = []
    for t, x, weight in zip(times.tolist(), run.x, run.weights.double(), strict=False):
        speed = move(t, x).double().square().sum(1)
        growth = dynamics.growth(t, x).double()
        rate.append(float((weight * (speed + delta**2 * growth**2)).sum()) / 2)
    return float(trapezoid(rate, times.numpy()))
