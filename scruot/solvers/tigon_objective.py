"""The objective of TIGON: densities along characteristics, clouds met forwards, action spent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.dynamics.derivatives import divergence
from scruot.dynamics.fields import Field
from scruot.dynamics.snapshots import Snapshots
from scruot.solvers.fitting import drawn, transport_loss
from scruot.solvers.kernel_density import KernelDensity
from scruot.solvers.ruot_rollout import Motion, Nodes, Rate, roll_out

__all__ = ["Objective", "Trace", "action", "log_ratios", "motion_of"]

# coordinates up to which the automatic trace is exact
_MOST_EXACT = 10


@dataclass(frozen=True)
class Trace:
    """How the divergence of the velocity is computed.

    Parameters
    ----------
    kind
        ``"exact"``, ``"hutchinson"`` (one random direction per point), or ``"auto"``: exact up to
        ten coordinates.
    """

    kind: str = "auto"

    def __call__(self, field: Field, t: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the divergence at times (n,) and states (n, d), shape (n,)."""
        if self.kind == "exact" or (self.kind == "auto" and x.shape[1] <= _MOST_EXACT):
            return divergence(field, t, x)
        coin = torch.randint(0, 2, (1, *x.shape), generator=generator, device=x.device)
        return divergence(field, t, x, 2.0 * coin.to(x.dtype) - 1)[0]


@dataclass
class Objective:
    r"""Density mismatch, distance and mass error forwards, and action.

    Parameters
    ----------
    clouds, densities
        The snapshots, and their kernel densities at the final bandwidth.
    delta
        Price of growth beside displacement, a length.
    trace
        How divergences are computed.
    weights
        Of density, matching and action, in this order.
    n_samples, n_particles, n_centres
        Points of the densities that are followed in a step, in each direction; particles that are
        simulated from the first snapshot; kernels of a density that are looked at.
    step
        Largest time step.
    scale
        Action that counts as one.
    widening
        Factor on all bandwidths at the moment.
    """

    clouds: Snapshots
    densities: list[KernelDensity]
    delta: float
    trace: Trace
    weights: tuple[float, float, float]
    n_samples: int
    n_particles: int
    n_centres: int
    step: float
    scale: float = 1.0
    widening: float = 1.0

    def __call__(self, field: Field, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the objective and its parts."""
        x, log_w = self.start(generator)
        run = roll_out(motion_of(field), x, log_w, self.clouds.times, self.step)
        distance, mass = self._matching(run.x, run.log_weights, generator)
        spent = action(run.nodes, self.delta)
        zero = torch.zeros_like(mass)
        terms = {"density": zero, "distance": distance, "mass": mass, "action": spent}
        if self.weights[0] > 0:
            terms["density"] = self.density_error(field, generator)
        density, matching, least = self.weights
        loss = (
            density * terms["density"]
            + matching * (distance + mass)
            + least * spent / max(self.scale, 1e-6)
        )
        return {"loss": loss, **terms}

    def density_error(self, field: Field, generator: torch.Generator) -> Tensor:
        r"""Return the mean of :math:`\sqrt{1 + r^2} - 1` over all log ratios, both ways."""
        densities = [
            d.thinned(self.n_centres, generator).widened(self.widening) for d in self.densities
        ]
        n = max(1, self.n_samples // (len(densities) - 1))

        def spread(t: Tensor, x: Tensor) -> Tensor:
            return self.trace(field, t, x, generator)

        errors = []
        for backwards in (True, False):
            times = self.clouds.times[::-1] if backwards else self.clouds.times
            order = densities[::-1] if backwards else densities
            starts = [d.sample(n, generator) for d in order[:-1]]
            ratios = log_ratios(field, order, times, starts, spread, self.step)
            errors += [((1 + r.square()).sqrt() - 1).mean() for r in ratios]
        return torch.stack(errors).mean()

    def start(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return particles at the first time, and their log weights."""
        x, w = drawn(self.clouds.x[0], self.clouds.weights[0], self.n_particles, generator)
        return x, (w / w.sum()).log().float()

    def _matching(
        self, states: list[Tensor], logs: list[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        distances, errors = [], []
        for k in range(1, len(states)):
            cells, w = drawn(
                self.clouds.x[k], self.clouds.weights[k], 2 * self.n_particles, generator
            )
            distances.append(transport_loss(states[k], logs[k], cells, w))
            errors.append((logs[k].logsumexp(0) - math.log(self.clouds.masses[k])).square())
        return torch.stack(distances).mean(), torch.stack(errors).mean()


def motion_of(field: Field) -> Motion:
    """Return velocity and growth of a field as a function of time and state."""

    def motion(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        out = field(t, x)
        return out["velocity"], out["growth"]

    return motion


def action(nodes: Nodes, delta: float) -> Tensor:
    r"""Return :math:`\int\sum_i w_i\,\tfrac12(|v_i|^2 + \delta^2 g_i^2)\,dt` of weighted paths."""
    rate = (nodes.velocity.square().sum(1) + delta**2 * nodes.growth.square()) / 2
    return (nodes.log_weights.exp() * nodes.duration * rate).sum()


def log_ratios(
    field: Field,
    densities: list[KernelDensity],
    times: tuple[float, ...],
    starts: list[Tensor],
    spread: Rate,
    step: float,
) -> list[Tensor]:
    r"""Follow points along their characteristics, and compare densities at both ends.

    Along :math:`\dot x = v` the log density changes by :math:`g - \nabla\cdot v`. For a field that
    carries one density to the next, what a point had plus what it collected is what the density
    at its place says.

    Parameters
    ----------
    field
        Velocity and growth.
    densities, times
        The densities in the order in which they are passed, and their times, which increase or
        decrease.
    starts
        Points (n, d) of every density but the last.
    spread
        Divergence of the velocity.
    step
        Largest time step.

    Returns
    -------
    Log of carried over given density, (n,): of the points of every density at the next one, and
    then of all points at the last one.
    """
    motion = motion_of(field)
    x = starts[0].new_zeros((0, starts[0].shape[1]))
    log_density = x.new_zeros(0)
    found = []
    for k, new in enumerate(starts):
        x = torch.cat([x, new])
        log_density = torch.cat([log_density, densities[k].log(new)])
        run = roll_out(
            motion, x, torch.zeros_like(log_density), times[k : k + 2], step, along=spread
        )
        x, log_density = run.x[-1], log_density + run.log_weights[-1] - run.along
        there = densities[k + 1].log(x[-len(new) :])
        found.append(log_density[-len(new) :] - there)
    if len(starts) > 1:
        found.append(log_density - densities[-1].log(x))
    return found
