"""Integrators of weighted particles, shared by every method.

Deterministic models run through a fixed-step Runge-Kutta scheme of order four, stochastic
ones through Heun's method with the Brownian paths of torchsde (Li et al. 2020 :cite:p:`li2020`).
Weights are carried as logarithms.

Fields may jump at observed times, where one interval ends and the next begins. A step that ends
there belongs to the interval before: the later end of every step is evaluated a trace earlier.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torchsde
from torch import Tensor

Rates = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Displacement (n, d) and growth (n,) per unit time at times (n,) and states (n, d)."""


# of the Brownian path that are in memory at once: it is asked for in order, once, and is the same
# whatever their number
_KEPT_PIECES = 4

Rate = Callable[[Tensor, Tensor], Tensor]
"""One of both, or the noise (n, d), at times (n,) and states (n, d)."""


@dataclass(frozen=True)
class Trajectories:
    """Weighted particles at several times.

    Parameters
    ----------
    times
        Shape (T,).
    x
        States, shape (T, n, d).
    weights
        Masses, shape (T, n); their sum at a time is the predicted population.
    """

    times: Tensor
    x: Tensor
    weights: Tensor

    @property
    def mass(self) -> Tensor:
        """Predicted population at every time, shape (T,)."""
        return self.weights.sum(1)

    @property
    def effective_sample_size(self) -> Tensor:
        """Number of equally weighted particles worth as much, per time, shape (T,)."""
        return self.mass**2 / (self.weights**2).sum(1)


def integrate_flow(
    rates: Rates, x: Tensor, log_weights: Tensor, times: list[float], step: float
) -> tuple[Tensor, Tensor]:
    """Integrate ``x' = v(t, x)``, ``(log w)' = g(t, x)`` by RK4 through ``times``.

    Times may also decrease. Each stretch between two of them is cut into equal steps of at
    most ``step``. Returns states (T, n, d) and log weights (T, n).
    """
    states, logs = [x], [log_weights]
    for start, stop in pairwise(times):
        n_steps = max(1, math.ceil(abs(stop - start) / step - 1e-9))
        h = (stop - start) / n_steps
        for i in range(n_steps):
            x, log_weights = _rk4_step(rates, start + i * h, x, log_weights, h)
        states.append(x)
        logs.append(log_weights)
    return torch.stack(states), torch.stack(logs)


def integrate_flow_adaptively(
    rates: Rates,
    x: Tensor,
    log_weights: Tensor,
    times: list[float],
    *,
    step: float = 0.1,
    tolerance: float = 1e-3,
    max_halvings: int = 12,
) -> tuple[Tensor, Tensor]:
    """Integrate as :func:`integrate_flow`, with steps halved until that changes nothing.

    Raises
    ------
    RuntimeError
        When states still change by more than ``tolerance`` after ``max_halvings``.
    """
    coarse = integrate_flow(rates, x, log_weights, times, step)
    for _ in range(max_halvings):
        step /= 2
        fine = integrate_flow(rates, x, log_weights, times, step)
        change = max(_change(a, b) for a, b in zip(coarse, fine, strict=True))
        if not (math.isfinite(change) and bool(torch.isfinite(fine[0]).all())):
            msg = (
                f"Trajectories leave the finite numbers at a step of {step:.2g} mean intervals: "
                "the field drives cells away; train with more smoothing, or simulate less far."
            )
            raise RuntimeError(msg)
        if change <= tolerance:
            return fine
        coarse = fine
    msg = (
        f"Trajectories still change by {change:.2g} after {max_halvings} halvings of the step; "
        "the field is too steep: train with more smoothing, or give a fixed step."
    )
    raise RuntimeError(msg)


def _change(before: Tensor, after: Tensor) -> float:
    """Return the largest difference; a particle without mass has log weight -inf in both."""
    difference = torch.where(before == after, torch.zeros_like(before), (before - after).abs())
    # max() would pass over a NaN in a comparison
    return float(difference.max()) if bool(torch.isfinite(difference).all()) else math.inf


def _rk4_step(
    rates: Rates, t: float, x: Tensor, log_weights: Tensor, h: float
) -> tuple[Tensor, Tensor]:
    def at(time: float, state: Tensor) -> tuple[Tensor, Tensor]:
        return rates(state.new_full((len(state),), time), state)

    start, stop = _ends(t, h, x.dtype)
    v1, g1 = at(start, x)
    v2, g2 = at(t + h / 2, x + h / 2 * v1)
    v3, g3 = at(t + h / 2, x + h / 2 * v2)
    v4, g4 = at(stop, x + h * v3)
    return (
        x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4),
        log_weights + h / 6 * (g1 + 2 * g2 + 2 * g3 + g4),
    )


def _ends(t: float, h: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return the times at which both ends of a step are evaluated, the later a trace earlier."""
    later = max(t, t + h)
    later -= torch.finfo(dtype).eps * max(1.0, abs(later))
    return (t, later) if h > 0 else (later, t + h)


def integrate_sde(
    rates: Rates,
    x: Tensor,
    log_weights: Tensor,
    times: list[float],
    step: float,
    sigma: Tensor | Rate,
    entropy: int,
    knots: tuple[float, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Integrate ``dX = b dt + sigma dW``, ``d log w = g dt`` forwards by Heun's method.

    The noise depends on no state, so that both stages of a step may share it; without noise the
    scheme is of order two. ``sigma`` has shape (d,), or is a function of times and states;
    ``entropy`` fixes the Brownian path. Each stretch between two times is cut into equal steps of
    at most ``step``, and those that begin less than three steps after one of ``knots`` into four:
    there a law begins from blurred cells, and drift and score change fast. Returns states (T, n, d)
    and log weights (T, n).
    """
    states, logs = [x], [log_weights]
    if len(times) > 1:
        brownian = torchsde.BrownianInterval(
            t0=times[0],
            t1=times[-1],
            size=x.shape,
            dtype=x.dtype,
            device=x.device,
            entropy=entropy,
            cache_size=_KEPT_PIECES,
        )
    for start, stop in pairwise(times):
        n_steps = max(1, math.ceil((stop - start) / step - 1e-9))
        nodes = [start + (stop - start) * i / n_steps for i in range(n_steps)] + [stop]
        for before, after in pairwise(_refined(nodes, 3 * step, knots)):
            t = log_weights.new_full((len(x),), before)
            spread = sigma if isinstance(sigma, Tensor) else sigma(t, x)
            shock = spread * brownian(before, after)
            h = after - before
            drift, growth = rates(t, x)
            later = torch.full_like(t, _ends(before, h, x.dtype)[1])
            drift_after, growth_after = rates(later, x + h * drift + shock)
            x = x + h / 2 * (drift + drift_after) + shock
            log_weights = log_weights + h / 2 * (growth + growth_after)
        states.append(x)
        logs.append(log_weights)
    return torch.stack(states), torch.stack(logs)


def _refined(nodes: list[float], reach: float, knots: tuple[float, ...]) -> list[float]:
    """Cut into four every step that begins at a knot or less than ``reach`` after one."""
    found = []
    for before, after in pairwise(nodes):
        near = any(-1e-9 <= before - knot < reach - 1e-9 for knot in knots)
        parts = 4 if near else 1
        found += [before + (after - before) * i / parts for i in range(parts)]
    return [*found, nodes[-1]]
