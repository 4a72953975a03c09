"""Fields written by hand, with laws that are known."""

import math

import pytest
import torch
from torch import Tensor, nn

from scruot.dynamics import Dynamics, Scale

SHIFT = (1.0, -2.0)


class Ornstein(nn.Module):
    """``dX = -rate X dt + sigma dW`` from a Gaussian at time 0, with its exact score."""

    def __init__(self, rate: float, sigma: float, start_variance: float, gives: str) -> None:
        super().__init__()
        self.rate, self.sigma, self.start, self.gives = rate, sigma, start_variance, gives

    def variance(self, t: Tensor) -> Tensor:
        rest = self.sigma**2 / (2 * self.rate)
        return rest + (self.start - rest) * torch.exp(-2 * self.rate * t)

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        score = -x / self.variance(t)[:, None]
        drift = -self.rate * x
        moving = drift if self.gives == "drift" else drift - self.sigma**2 / 2 * score
        return {self.gives: moving, "score": score, "growth": 0.3 + 0 * x[:, 0]}


class Spiral(nn.Module):
    """A rotation, a growth that depends on where and when, and a potential."""

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        velocity = torch.stack([-x[:, 1], x[:, 0]], dim=1)
        return {"velocity": velocity, "growth": x[:, 0] + t, "potential": x.square().sum(1)}


@pytest.fixture
def scale() -> Scale:
    """Units in which nothing is one."""
    return Scale(shift=SHIFT, length=4.0, origin=10.0, time=2.0)


@pytest.fixture(params=["drift", "velocity"])
def ornstein(scale: Scale, request: pytest.FixtureRequest) -> Dynamics:
    """A stochastic model that learned its drift, or its velocity, and the score."""
    return Dynamics(
        Ornstein(0.7, 0.8, 0.25, request.param),
        scale,
        method="hand",
        learns=(request.param, "score", "growth"),
        times=(10.0, 14.0),
        masses=(1.0, math.exp(0.6)),
        sigma=0.8,
    )


@pytest.fixture
def spiral(scale: Scale) -> Dynamics:
    """A deterministic model."""
    return Dynamics(
        Spiral(),
        scale,
        method="hand",
        learns=("velocity", "growth", "potential"),
        times=(10.0, 14.0),
        masses=(1.0, 1.0),
    )
