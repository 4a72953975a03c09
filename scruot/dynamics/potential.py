"""A network of one scalar potential, with its gradient in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from scruot.dynamics.fields import TimeFeatures, make_linear

__all__ = ["PotentialNet"]


class PotentialNet(nn.Module):
    """Scalar potential of time and state: value and gradient in one pass.

    The gradient is written out, layer by layer, rather than left to automatic differentiation:
    it costs two passes in place of a graph, works where gradients are switched off, and can be
    differentiated again.

    Parameters
    ----------
    dim
        Number of coordinates.
    knots
        Observed times. Between two of them the potential is one of its own, unless
        ``shared``: least action through given snapshots has a potential that jumps there.
    shared
        One smooth potential for all times, as in the paper.
    width, depth, n_frequencies
        Size of the network, and frequencies of its time features.
    generator
        Source of the initial weights; ``None`` leaves zeros.
    device
        Where the weights live.
    """

    knots: Tensor
    slope: Tensor
    spread: Tensor
    offset: Tensor
    price: Tensor
    population: Tensor

    def __init__(
        self,
        dim: int,
        knots: Sequence[float],
        *,
        shared: bool = False,
        width: int = 128,
        depth: int = 3,
        n_frequencies: int = 4,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.shared = shared
        n_intervals = len(knots) - 1
        self.time = TimeFeatures(float(knots[-1]), n_frequencies).to(device)
        n_inputs = dim + self.time.size + (0 if shared else 2 * n_intervals)
        sizes = [n_inputs] + [width] * depth
        self.dim = dim
        self.trunk = nn.ModuleList(make_linear(a, b, generator, device) for a, b in pairwise(sizes))
        self.head = make_linear(width, 1, generator, device)
        self.register_buffer("knots", torch.tensor(list(knots), device=device), persistent=False)
        # per interval: a plane and a constant that the network's output is added to
        self.register_buffer("slope", torch.zeros(n_intervals, dim, device=device))
        self.register_buffer("offset", torch.zeros(n_intervals, device=device))
        self.register_buffer("spread", torch.ones((), device=device))
        # and the first, last and mixed mass of all cells, for the level under which they grow
        self.register_buffer("price", torch.zeros((), device=device))
        self.register_buffer("population", torch.ones(n_intervals, 3, device=device))

    def interval(self, t: Tensor) -> Tensor:
        """Return the index of the interval of every time; a snapshot begins one."""
        return torch.bucketize(t.contiguous(), self.knots[1:-1].contiguous(), right=True)

    def forward(
        self, t: Tensor, x: Tensor, interval: Tensor | int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return value (n,) and gradient (n, d) at times ``t`` (n,) and states ``x`` (n, d).

        ``interval`` says which potential is meant where two meet.
        """
        if interval is None:
            interval = self.interval(t)
        elif isinstance(interval, int):
            interval = torch.full_like(t, interval, dtype=torch.long)
        hidden = torch.cat([x, self._time_inputs(t, interval)], dim=1)
        slopes = []
        for layer in self.trunk:
            before = layer(hidden)
            gate = torch.sigmoid(before)
            hidden = before * gate
            slopes.append(gate + hidden * (1 - gate))
        plane = self.slope[interval]
        value = self.spread * self.head(hidden)[:, 0] + (plane * x).sum(1) + self.offset[interval]
        value = value + self.level(t, interval)
        weights = [layer.get_parameter("weight") for layer in self.trunk]
        back = self.head.weight * slopes[-1]
        for weight, slope in zip(reversed(weights[1:]), reversed(slopes[:-1]), strict=True):
            back = (back @ weight) * slope
        return value, self.spread * (back @ weights[0][:, : self.dim]) + plane

    def level(self, t: Tensor, interval: Tensor | None = None) -> Tensor:
        r"""Return what all cells' growth adds to the potential: `price` times its rate, (n,).

        Pairs of cells on geodesics have together the mass :math:`M = a (1-s)^2 + b s^2 + 2 c s
        (1-s)` at share ``s`` of an interval, and :math:`M'/M` is their mean growth. Where growth is
        dear this is far larger than all that differs between cells, which a network would
        otherwise have to find beside it; where nothing but it happens (:math:`c = \sqrt{ab}`), it
        solves the HJB equation.
        """
        if interval is None:
            interval = self.interval(t)
        duration = self.knots.diff()[interval]
        s = ((t - self.knots[interval]) / duration).clamp(0, 1)
        first, last, mixed = self.population[interval].unbind(1)
        mass = first * (1 - s).square() + last * s.square() + 2 * mixed * s * (1 - s)
        half = last * s - first * (1 - s) + mixed * (1 - 2 * s)
        return 2 * self.price * half / (mass * duration)

    def _time_inputs(self, t: Tensor, interval: Tensor) -> Tensor:
        features: Tensor = self.time(t)
        if self.shared:
            return features
        duration = self.knots.diff()
        s = (t - self.knots[interval]) / duration[interval]
        which = torch.nn.functional.one_hot(interval, len(duration)).to(t.dtype)
        # a phase of its own for every interval, centred
        return torch.cat([features, which, which * (math.sqrt(12) * (s - 0.5))[:, None]], dim=1)
