"""Integrators of weighted particles, shared by every method.

Deterministic models run through a fixed-step Runge-Kutta scheme of order four, stochastic
ones through torchsde. Weights are carried as logarithms.
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

    v1, g1 = at(t, x)
    v2, g2 = at(t + h / 2, x + h / 2 * v1)
    v3, g3 = at(t + h / 2, x + h / 2 * v2)
    v4, g4 = at(t + h, x + h * v3)
    return (
        x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4),
        log_weights + h / 6 * (g1 + 2 * g2 + 2 * g3 + g4),
    )


class _WeightedSDE(torch.nn.Module):
    """State and log weight as one Ito process; the log weight carries no noise."""

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, rates: Rates, sigma: Tensor | Rate) -> None:
        super().__init__()
        self.rates = rates
        self.sigma = sigma

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        x = y[:, :-1]
        drift, growth = self.rates(x.new_full((len(x),), float(t)), x)
        return torch.cat([drift, growth[:, None]], dim=1)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        if isinstance(self.sigma, Tensor):
            return torch.cat([self.sigma, self.sigma.new_zeros(1)]).expand(len(y), -1)
        x = y[:, :-1]
        sigma = self.sigma(x.new_full((len(x),), float(t)), x)
        return torch.cat([sigma, sigma.new_zeros(len(y), 1)], dim=1)


def integrate_sde(
    rates: Rates,
    x: Tensor,
    log_weights: Tensor,
    times: list[float],
    step: float,
    sigma: Tensor | Rate,
    entropy: int,
) -> tuple[Tensor, Tensor]:
    """Integrate ``dX = b dt + sigma dW``, ``d log w = g dt`` forwards by Euler-Maruyama.

    ``sigma`` has shape (d,), or is a function of times and states; ``entropy`` fixes the
    Brownian path. Each stretch between two times is cut into equal steps of at most ``step``:
    torchsde would interpolate between steps that miss a time, and lose part of the noise there.
    """
    y = torch.cat([x, log_weights[:, None]], dim=1)
    path = [y]
    if len(times) > 1:
        brownian = torchsde.BrownianInterval(
            t0=times[0], t1=times[-1], size=y.shape, dtype=y.dtype, device=y.device, entropy=entropy
        )
    for start, stop in pairwise(times):
        n_steps = max(1, math.ceil((stop - start) / step - 1e-9))
        # double precision on the CPU: the Brownian path knows its ends to the last bit; the
        # step is a trace larger, so that rounding adds no step of no length
        grid = torch.tensor([start, stop], dtype=torch.float64)
        h = (stop - start) / n_steps * (1 + 1e-9)
        with torch.no_grad():
            y = torchsde.sdeint(
                _WeightedSDE(rates, sigma), y, grid, bm=brownian, dt=h, method="euler"
            )[-1]
        path.append(y)
    stacked = torch.stack(path)
    return stacked[..., :-1], stacked[..., -1]
