"""The law of a potential, simulated: its populations, its distance to the snapshots, its action."""

from __future__ import annotations

import logging
import math
from itertools import pairwise

import numpy as np
import torch
from scipy.integrate import trapezoid

from scruot.dynamics.noise import Noise
from scruot.dynamics.score import Particles
from scruot.dynamics.snapshots import Snapshots
from scruot.metrics import mass_error, w1
from scruot.solvers.least_action import squared_residual
from scruot.solvers.potential_field import PotentialField

__all__ = ["fit_quality", "match_populations", "simulate_law"]

logger = logging.getLogger(__name__)

_STEP = 0.05
# particles: few cells are repeated, each with noise of its own
_FEWEST, _MOST = 2000, 16_384
# cells of a cloud in a distance, and points in a mean residual
_COMPARED = 1000
# coordinates up to which a Laplacian is exact
_EXACT = 10
# largest log error of a population that is taken for one of the fit
_TOLERABLE = math.log(1.25)


@torch.no_grad()
def simulate_law(
    field: PotentialField, clouds: Snapshots, noise: Noise, generator: torch.Generator
) -> Particles:
    """Carry the first snapshot through all times by Heun's method.

    Returns particles of total mass one at the first time, on a grid that holds all snapshots.
    """
    x, weight = clouds.x[0], clouds.weights[0].float()
    if noise:
        repeats = -(-_FEWEST // len(x))
        x, weight = x.repeat(repeats, 1), weight.repeat(repeats)
    if len(x) > _MOST:
        kept = torch.randperm(len(x), generator=generator, device=x.device)[:_MOST]
        x, weight = x[kept], weight[kept]
    log_w = torch.log_softmax(weight.log(), 0)
    grid, states, logs = [clouds.times[0]], [x], [log_w]
    for k, (start, stop) in enumerate(pairwise(clouds.times)):
        n_steps = max(1, math.ceil((stop - start) / _STEP - 1e-9))
        h = (stop - start) / n_steps
        for i in range(n_steps):
            t = torch.full_like(log_w, start + i * h)
            shock = torch.zeros_like(x)
            if noise:
                normal = torch.randn(x.shape, generator=generator, device=x.device)
                shock = math.sqrt(h) * noise.at(t, x) * normal
            here = field.local(t, x, k)
            ahead = field.local(t + h, x + h * here.drift + shock, k)
            x = x + h / 2 * (here.drift + ahead.drift) + shock
            log_w = log_w + h / 2 * (here.growth + ahead.growth)
            grid.append(start + (i + 1) * h)
            states.append(x)
            logs.append(log_w)
        grid[-1] = stop
    times = torch.tensor(grid, device=x.device)
    return Particles(times, torch.stack(states), torch.stack(logs))


def match_populations(
    field: PotentialField, clouds: Snapshots, noise: Noise, generator: torch.Generator
) -> None:
    """Add a constant to the potential of every interval, so that populations end as observed.

    It moves no cell, changes the growth of all alike, and solves the HJB equation as well as
    before where growth is slow beside the length of an interval. For the quadratic penalty one
    pass is exact; for others it is repeated. Nothing is done where the error of a population is
    more than a quarter over an interval: cells appear out of reach of those before.
    """
    net = field.potential
    state = generator.get_state()
    for _ in range(1 if field.penalty.kind == "quadratic" else 4):
        # the same noise every time
        generator.set_state(state)
        law = simulate_law(field, clouds, noise, generator)
        error = [math.log(m) - s for m, s in zip(clouds.masses, _totals(law, clouds), strict=True)]
        missing = [after - before for before, after in pairwise(error)]
        far = [k for k, m in enumerate(missing) if abs(m) > _TOLERABLE]
        if far:
            logger.warning(
                "Populations are not matched in interval %s (simulated / observed: %s): cells "
                "appear out of reach of those before, or training was too short. A larger alpha, "
                "or more steps, may help.",
                ", ".join(str(k + 1) for k in far),
                ", ".join(f"{math.exp(-missing[k]):.2f}" for k in far),
            )
        change = [
            0.0 if k in far else field.alpha * m / duration
            for k, (m, duration) in enumerate(zip(missing, clouds.durations, strict=True))
        ]
        net.offset.add_(torch.tensor(change, device=net.offset.device))
        if far:
            return


def fit_quality(
    field: PotentialField, clouds: Snapshots, noise: Noise, generator: torch.Generator
) -> dict[str, float]:
    """Return action, residual, distance and populations of the simulated law, in scaled units.

    ``"action"`` is there for convex penalties alone. ``"hjb_residual"`` is the root mean square
    of the residual over that of the terms ``|u|^2 / 2 + |H|``, ``"w1"`` the mean over snapshots
    (of up to a thousand cells each), ``"mass_error"`` the largest.
    """
    law = simulate_law(field, clouds, noise, generator)
    places = _places(law, clouds)
    distances, errors = [], []
    for k in range(1, len(clouds.times)):
        weight = law.log_weights[places[k]].double().exp()
        rows = slice(None, None, max(1, len(weight) // _COMPARED))
        cells = slice(None, None, max(1, len(clouds.x[k]) // _COMPARED))
        x, y, b = law.x[places[k]][rows], clouds.x[k][cells], clouds.weights[k][cells]
        distances.append(w1(x, y, weight[rows], b))
        errors.append(mass_error(float(weight.sum()), clouds.masses[k]))
    quality = {
        "hjb_residual": _residual(field, law, noise, generator),
        "w1": float(np.mean(distances)),
        "mass_error": max(errors),
    }
    if field.penalty.convex:
        quality["action"] = _action(field, law, places)
    return quality


def _totals(law: Particles, clouds: Snapshots) -> list[float]:
    """Return the log population at every snapshot."""
    totals = law.log_weights.cpu().double().logsumexp(1)
    return [float(totals[place]) for place in _places(law, clouds)]


def _places(law: Particles, clouds: Snapshots) -> list[int]:
    grid = law.times.cpu().double()
    return [int((grid - t).abs().argmin()) for t in clouds.times]


@torch.no_grad()
def _action(field: PotentialField, law: Particles, places: list[int]) -> float:
    total = 0.0
    for k, (first, last) in enumerate(pairwise(places)):
        rates = []
        for i in range(first, last + 1):
            here = field.local(law.times[i].expand(law.x.shape[1]), law.x[i], k)
            rate = here.drift.square().sum(1) / 2 + here.cost
            rates.append(float((law.log_weights[i].double().exp() * rate).sum()))
        times = law.times[first : last + 1].cpu().double().numpy()
        total += float(trapezoid(rates, times))
    return total


def _residual(
    field: PotentialField, law: Particles, noise: Noise, generator: torch.Generator
) -> float:
    n_times, n = law.log_weights.shape
    # the start of every step belongs to the interval of its potential; the last end does not
    pick = torch.randint((n_times - 1) * n, (_COMPARED,), generator=generator, device=law.x.device)
    t = law.times[:-1].repeat_interleave(n)[pick]
    x, weight = law.x[:-1].flatten(0, 1)[pick], law.log_weights[:-1].flatten()[pick].exp()
    squared = squared_residual(
        field, t, x, noise, generator=None if law.x.shape[2] <= _EXACT else generator
    ).detach()
    with torch.no_grad():
        here = field.local(t, x)
        size = (here.drift.square().sum(1) / 2 + here.hamiltonian.abs()).square()
    # Hutchinson's products may be negative, one by one and, where all is well, in the mean
    top = (weight * squared).sum().clamp_min(0)
    return float((top / (weight * size).sum().clamp_min(1e-30)).sqrt())
