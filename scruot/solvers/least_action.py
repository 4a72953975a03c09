"""The losses of a simulated potential: snapshots met, action spent, equation obeyed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.dynamics.hjb import residual
from scruot.dynamics.noise import Noise
from scruot.dynamics.snapshots import Snapshots
from scruot.solvers.matching import transport_loss
from scruot.solvers.potential_field import PotentialField
from scruot.solvers.rollout import Rollout, roll_out

__all__ = ["FORMS", "LeastAction", "squared_residual"]

# of the steps of a simulation: the first of four is a sixteenth of the interval
_GRADING = 2.0

FORMS = ("temporal-difference", "exact", "hutchinson")


@dataclass(frozen=True)
class LeastAction:
    """Losses of particles that are carried through all snapshots.

    Parameters
    ----------
    field
        What is trained.
    clouds
        The snapshots.
    noise
        Noise of the process.
    form
        One of ``FORMS``: how the residual of the equation is computed.
    step
        Time step.
    n_particles
        Most particles, and most cells of a snapshot, in one step.
    n_points
        Points of a step at which the exact or Hutchinson's residual is computed.
    least_effective
        See :func:`~scruot.solvers.rollout.roll_out`.
    rate
        Typical size of ``|u|^2 + alpha g^2``.
    """

    field: PotentialField
    clouds: Snapshots
    noise: Noise
    form: str
    step: float
    n_particles: int
    n_points: int
    least_effective: float
    rate: float

    def terms(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of one simulation.

        ``"matching"`` is half the squared W2 distance to the snapshots, ``"mass"`` the squared
        relative error of the populations, both summed over snapshots; ``"action"`` the action,
        and ``"hjb"`` the integral of the squared residual over the particles, over
        ``rate``: like the others in the units of the action, and as large where nothing is right.
        """
        run, chosen = self._simulate(generator)
        matching = mass = torch.zeros((), device=chosen.device)
        for k in range(1, len(self.clouds.times)):
            cells = _some(len(self.clouds.x[k]), self.n_particles, generator, chosen.device)
            weight = run.log_weights[k].exp()
            target = self.clouds.weights[k][cells]
            matching = matching + transport_loss(run.x[k], weight, self.clouds.x[k][cells], target)
            mass = mass + (weight.sum() / self.clouds.masses[k] - 1).square()
        squared = run.squared_residual
        if self.form != "temporal-difference":
            squared = self._squared_residual(run, generator)
        return {
            "matching": matching,
            "mass": mass,
            "action": run.action,
            "hjb": squared / self.rate,
        }

    def _simulate(self, generator: torch.Generator) -> tuple[Rollout, Tensor]:
        x, weight = self.clouds.x[0], self.clouds.weights[0]
        chosen = _some(len(x), self.n_particles, generator, x.device)
        log_weights = torch.log_softmax(weight[chosen].log(), 0).to(x.dtype)
        run = roll_out(
            self.field.local,
            x[chosen],
            log_weights,
            self.clouds.times,
            self.noise,
            step=self.step,
            generator=generator,
            least_effective=self.least_effective,
            grading=_GRADING,
        )
        return run, chosen

    def _squared_residual(self, run: Rollout, generator: torch.Generator) -> Tensor:
        """Return the integral of the squared residual from some of the particles' states."""
        t, x, weight = (torch.cat(parts) for parts in zip(*run.nodes, strict=True))
        steps = t.new_tensor(run.durations).repeat_interleave(len(run.nodes[0][0]))
        chosen = _some(len(t), self.n_points, generator, t.device)
        share = (steps * weight)[chosen]
        # anywhere on the way of a step: at the ends of a few steps the equation could hold alone
        part = torch.rand(len(chosen), generator=generator, device=t.device, dtype=t.dtype)
        ways = (torch.cat(run.centres) - x)[chosen]
        squared = squared_residual(
            self.field,
            t[chosen] + part * steps[chosen],
            x[chosen] + part[:, None] * ways,
            self.noise,
            generator=generator if self.form == "hutchinson" else None,
        )
        # the integral of the weight of all particles, times the mean over the sample
        return (steps * weight).sum() * (share * squared).sum() / share.sum()


def squared_residual(
    field: PotentialField,
    t: Tensor,
    x: Tensor,
    noise: Noise,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the squared residual of the HJB equation at given points, differentiable, (n,).

    With a generator by Hutchinson's estimate from two independent draws, whose product has the
    right mean; else exactly.
    """

    def hamiltonian(value: Tensor) -> Tensor:
        return field.alpha * field.penalty.conjugate(value / field.alpha)

    def once() -> Tensor:
        probes = None
        if generator is not None:
            coin = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            probes = torch.where(coin < 0.5, -1.0, 1.0).to(x.dtype)
        return residual(field.potential, hamiltonian, t, x, noise.at(t, x), probes=probes)

    first = once()
    return first * (first if generator is None else once())


def _some(n: int, most: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return the indices of all of ``n``, or of a random ``most`` of them."""
    if n <= most:
        return torch.arange(n, device=device)
    return torch.randperm(n, generator=generator, device=device)[:most]
