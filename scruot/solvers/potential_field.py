"""The field of a variational method: everything follows from one potential."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scruot.dynamics.fields import Field
from scruot.dynamics.growth_penalty import GrowthPenalty
from scruot.dynamics.potential import PotentialNet
from scruot.solvers.rollout import Local

__all__ = ["PotentialField"]


class PotentialField(nn.Module):
    """Drift ``grad lambda``, growth by ``alpha psi'(g) = lambda``, and a score beside them.

    Parameters
    ----------
    dim
        Number of coordinates.
    knots
        Observed times.
    alpha
        Price of growth, in the units of the field.
    penalty, exponent, cap
        As in :class:`~scruot.dynamics.growth_penalty.GrowthPenalty`.
    shared
        One potential for all times in place of one per interval.
    scored
        Whether there is noise, and so a score to learn.
    width, depth
        Size of both networks.
    generator
        Source of the initial weights; ``None`` leaves zeros.
    device
        Where the weights live.
    """

    def __init__(
        self,
        dim: int,
        knots: Sequence[float],
        *,
        alpha: float,
        penalty: str = "quadratic",
        exponent: float = 2.0,
        cap: float = 3.0,
        shared: bool = False,
        scored: bool = True,
        width: int = 128,
        depth: int = 3,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "dim": dim,
            "knots": list(knots),
            "alpha": alpha,
            "penalty": penalty,
            "exponent": exponent,
            "cap": cap,
            "shared": shared,
            "scored": scored,
            "width": width,
            "depth": depth,
        }
        self.alpha = alpha
        self.penalty = GrowthPenalty(penalty, exponent, cap)
        # enough frequencies to bend at every snapshot
        n_frequencies = max(4, len(knots) - 1)
        self.potential = PotentialNet(
            dim,
            knots,
            shared=shared,
            width=width,
            depth=depth,
            n_frequencies=n_frequencies,
            generator=generator,
            device=device,
        )
        self.score: Field | None = None
        if scored:
            self.score = Field(
                dim,
                {"score": dim},
                width=width,
                depth=depth,
                span=float(knots[-1]),
                n_frequencies=n_frequencies,
                generator=generator,
                device=device,
            )

    def local(self, t: Tensor, x: Tensor, interval: int | None = None) -> Local:
        """Return the potential and what follows from it; see :class:`~.rollout.Local`."""
        value, drift = self.potential(t, x, interval)
        p = value / self.alpha
        return Local(
            value,
            drift,
            self.penalty.growth(p),
            self.alpha * self.penalty.conjugate(p),
            self.alpha * self.penalty.cost(p),
        )

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return drift, growth and potential, and the score where there is noise."""
        here = self.local(t, x)
        out = {"drift": here.drift, "growth": here.growth, "potential": here.value}
        if self.score is not None:
            out |= self.score(t, x)
        return out
