"""Velocity, growth and log density of one law, as networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scruot.dynamics.derivatives import ScalarJet, scalar_jet
from scruot.dynamics.fields import Field


class RUOTField(nn.Module):
    """Velocity and growth from one network, the log density from another.

    The score is the gradient of the log density, which is that of one normal law over all clouds
    plus the output of the network, so that far from all cells it points back to them.

    A velocity says nothing beyond the cells that taught it, and there may outrun the score: one
    particle in a thousand would then leave for ever, with a weight that drowns all others. Where
    the log density is below ``edge`` the velocity therefore loses what it has against the score.

    Parameters
    ----------
    flow, density
        Configurations of the two networks (see :class:`~scruot.dynamics.fields.Field`).
    variances
        Variances of that law in every coordinate; its mean is zero.
    generator, device
        As for a field.
    """

    variances: Tensor
    edge: Tensor

    def __init__(
        self,
        flow: Mapping[str, Any],
        density: Mapping[str, Any],
        variances: Sequence[float],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.flow = Field(**flow, generator=generator, device=device)
        self.density = Field(**density, generator=generator, device=device)
        self.config = {
            "flow": self.flow.config,
            "density": self.density.config,
            "variances": list(variances),
        }
        self.register_buffer("variances", torch.tensor(list(variances), device=device))
        self.register_buffer("edge", torch.tensor(-math.inf, device=device))

    def motion(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return velocity (n, d) and growth (n,); the latter is zero where none is learned."""
        out = self.flow(t, x)
        return out["velocity"], out.get("growth", x.new_zeros(len(x)))

    def log_density(self, t: Tensor, x: Tensor) -> ScalarJet:
        """Return the log density with its gradient, the score, and its time derivative."""
        jet = scalar_jet(self.density, t, x, "potential")
        value = jet.value + self.background(x)
        return ScalarJet(value, jet.gradient - x / self.variances, jet.rate)

    def background(self, x: Tensor) -> Tensor:
        """Return the log density of the one normal law over all clouds, shape (n,)."""
        level = (2 * math.pi * self.variances).log().sum()
        return -((x.square() / self.variances).sum(1) + level) / 2

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return every quantity at times ``t`` (n,) and states ``x`` (n, d)."""
        jet = self.log_density(t, x)
        out = self.flow(t, x)
        out["velocity"] = torch.where(
            (jet.value < self.edge)[:, None],
            _not_against(out["velocity"], jet.gradient),
            out["velocity"],
        )
        return {**out, "score": jet.gradient, "log_density": jet.value}


def _not_against(velocity: Tensor, score: Tensor) -> Tensor:
    """Return velocities (n, d) without their part against the score."""
    up = (velocity * score).sum(1, keepdim=True)
    return velocity - up.clamp_max(0) * score / score.square().sum(1, keepdim=True).clamp_min(1e-12)
