"""The law of a potential, simulated: its populations, its distance to the snapshots, its action."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from scruot.dynamics.noise import Noise
from scruot.dynamics.score import Particles
from scruot.dynamics.snapshots import Snapshots
from scruot.metrics import mass_error, w1
from scruot.solvers.least_action import squared_residual
from scruot.solvers.populations import missing_growth
from scruot.solvers.potential_field import PotentialField
from scruot.solvers.rollout import Rollout, roll_out

__all__ = ["SimulatedLaw", "fit_quality", "match_populations", "simulate_law"]

_STEP = 0.05
# particles: few cells are repeated, each with noise of its own
_FEWEST, _MOST = 2000, 16_384
# cells of a cloud in a distance, and points in a mean residual
_COMPARED = 1000
# coordinates up to which a Laplacian is exact
_EXACT = 10


class SimulatedLaw(NamedTuple):
    """Particles on a grid that holds all snapshots, and their run with its action."""

    particles: Particles
    run: Rollout


@torch.no_grad()
def simulate_law(
    field: PotentialField,
    clouds: Snapshots,
    noise: Noise,
    generator: torch.Generator,
    *,
    blur: float = 0.0,
    step: float = _STEP,
) -> SimulatedLaw:
    """Carry the first snapshot, of total mass one, through all times.

    Its cells are blurred by a normal law of standard deviation ``blur``. The particles of the
    result are states before the noise of the step that led there, or before that blur, and no
    narrower than it.
    """
    x, weight = clouds.x[0], clouds.weights[0].float()
    if noise:
        repeats = -(-_FEWEST // len(x))
        x, weight = x.repeat(repeats, 1), weight.repeat(repeats)
    if len(x) > _MOST:
        kept = torch.randperm(len(x), generator=generator, device=x.device)[:_MOST]
        x, weight = x[kept], weight[kept]
    log_w = torch.log_softmax(weight.log(), 0)
    start = x + blur * torch.randn(x.shape, generator=generator, device=x.device)
    run = roll_out(field.local, start, log_w, clouds.times, noise, step=step, generator=generator)
    times, _, weights = (torch.stack(part) for part in zip(*run.nodes, strict=True))
    times = torch.cat([times[:, 0], torch.full_like(times[:1, 0], clouds.times[-1])])
    shocks = times.diff().sqrt()[:, None] * noise.at(times[:-1], x)
    law = Particles(
        times,
        torch.stack([x, *run.centres]),
        torch.cat([weights.log(), run.log_weights[-1][None]]),
        torch.cat([torch.zeros_like(shocks[:1]), shocks]).clamp_min(blur),
    )
    return SimulatedLaw(law, run)


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
        run = simulate_law(field, clouds, noise, generator).run
        totals = [float(w.cpu().double().logsumexp(0)) for w in run.log_weights]
        rates, far = missing_growth(totals, clouds, price="alpha")
        change = torch.tensor([field.alpha * rate for rate in rates], device=net.offset.device)
        net.offset.add_(change)
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
    run = simulate_law(field, clouds, noise, generator).run
    distances, errors = [], []
    for k in range(1, len(clouds.times)):
        weight = run.log_weights[k].double().exp()
        rows = slice(None, None, max(1, len(weight) // _COMPARED))
        cells = slice(None, None, max(1, len(clouds.x[k]) // _COMPARED))
        x, y, b = run.x[k][rows], clouds.x[k][cells], clouds.weights[k][cells]
        distances.append(w1(x, y, weight[rows], b))
        errors.append(mass_error(float(weight.sum()), clouds.masses[k]))
    quality = {
        "hjb_residual": _residual(field, run, noise, generator),
        "w1": float(np.mean(distances)),
        "mass_error": max(errors),
    }
    if field.penalty.convex:
        quality["action"] = float(run.action)
    return quality


def _residual(
    field: PotentialField, run: Rollout, noise: Noise, generator: torch.Generator
) -> float:
    t, x, weight = (torch.cat(parts) for parts in zip(*run.nodes, strict=True))
    pick = torch.randint(len(t), (_COMPARED,), generator=generator, device=t.device)
    t, x, weight = t[pick], x[pick], weight[pick]
    squared = squared_residual(
        field, t, x, noise, generator=None if x.shape[1] <= _EXACT else generator
    ).detach()
    with torch.no_grad():
        here = field.local(t, x)
        size = (here.drift.square().sum(1) / 2 + here.hamiltonian.abs()).square()
    # Hutchinson's products may be negative, one by one and, where all is well, in the mean
    top = (weight * squared).sum().clamp_min(0)
    return float((top / (weight * size).sum().clamp_min(1e-30)).sqrt())
