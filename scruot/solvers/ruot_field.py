"""Velocity, growth and log density of one law, as networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scruot.dynamics.derivatives import ScalarJet, divergence, scalar_jet
from scruot.dynamics.fields import Field
from scruot.solvers.affine_law import AffineLaw


class RUOTField(nn.Module):
    """Velocity and growth from one network, the log density from another, beside an affine law.

    The networks learn what the law has beside a Gaussian one, whose score points back to the
    cells from far away. The score is the gradient of the log density.

    A velocity says nothing beyond the cells that taught it, and there may outrun the score: one
    particle in a thousand would then leave for ever, with a weight that drowns all others. Where
    the log density is below ``edge`` the velocity therefore loses what it has against the score.

    Parameters
    ----------
    flow, density
        Configurations of the two networks (see :class:`~scruot.dynamics.fields.Field`).
    law
        Configuration of the affine law (see :class:`~scruot.solvers.affine_law.AffineLaw`).
    generator, device
        As for a field.
    """

    edge: Tensor

    def __init__(
        self,
        flow: Mapping[str, Any],
        density: Mapping[str, Any],
        law: Mapping[str, Any],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.flow = Field(**flow, generator=generator, device=device)
        self.density = Field(**density, generator=generator, device=device)
        self.law = AffineLaw(**law, device=device)
        # at first there is no velocity and no density beside the affine law's
        for network, name in ((self.flow, "velocity"), (self.density, "potential")):
            network.zero_head(name)
        self.config = {
            "flow": self.flow.config,
            "density": self.density.config,
            "law": self.law.config,
        }
        self.register_buffer("edge", torch.tensor(-math.inf, device=device))

    def motion(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return velocity (n, d) and growth (n,); the latter is zero where none is learned."""
        out = self.flow(t, x)
        velocity = out["velocity"] + self.law.velocity(t, x)
        return velocity, out.get("growth", x.new_zeros(len(x)))

    def divergence(self, t: Tensor, x: Tensor, probes: Tensor | None = None) -> Tensor:
        """Return the divergence of the velocity (n,), or estimates of it (k, n) by ``probes``."""
        return divergence(self.flow, t, x, probes) + self.law.divergence(t)

    def log_density(self, t: Tensor, x: Tensor) -> ScalarJet:
        """Return the log density with its gradient, the score, and its time derivative."""
        rest, normal = scalar_jet(self.density, t, x, "potential"), self.law.log_density(t, x)
        return ScalarJet(*(a + b for a, b in zip(rest, normal, strict=True)))

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return every quantity at times ``t`` (n,) and states ``x`` (n, d)."""
        jet = self.log_density(t, x)
        velocity, growth = self.motion(t, x)
        velocity = torch.where(
            (jet.value < self.edge)[:, None], _not_against(velocity, jet.gradient), velocity
        )
        out = {"velocity": velocity, "score": jet.gradient, "log_density": jet.value}
        return {**out, "growth": growth} if "growth" in self.flow.names else out


class Motion:
    """Velocity and growth of a field, without the density that they do not need."""

    def __init__(self, field: RUOTField) -> None:
        self.field = field

    @property
    def growth_offset(self) -> Tensor:
        """Constant of the growth in every interval."""
        return self.field.flow.growth_offset

    def set_growth_offset(self, offset: Tensor) -> None:
        """Set the constant of the growth in every interval."""
        self.field.flow.set_growth_offset(offset)

    def __call__(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return both at times ``t`` (n,) and states ``x`` (n, d)."""
        velocity, growth = self.field.motion(t, x)
        return {"velocity": velocity, "growth": growth}


def _not_against(velocity: Tensor, score: Tensor) -> Tensor:
    """Return velocities (n, d) without their part against the score."""
    up = (velocity * score).sum(1, keepdim=True)
    return velocity - up.clamp_max(0) * score / score.square().sum(1, keepdim=True).clamp_min(1e-12)
