"""Networks of time and state, made without touching the global random state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class TimeFeatures(nn.Module):
    """Time as ``u`` in [0, 1] with ``sin`` and ``cos`` of ``k pi u``, ``k = 1 .. n_frequencies``.

    Fields of flow matching bend at every snapshot; a raw time input learns that slowly.
    """

    frequencies: Tensor

    def __init__(self, span: float, n_frequencies: int) -> None:
        super().__init__()
        self.span = span
        self.size = 1 + 2 * n_frequencies
        self.register_buffer(
            "frequencies", math.pi * torch.arange(1, n_frequencies + 1), persistent=False
        )

    def forward(self, t: Tensor) -> Tensor:
        """Return features of shape (n, 1 + 2 n_frequencies) for ``t`` of shape (n,)."""
        u = (t / self.span)[:, None]
        angle = u * self.frequencies
        return torch.cat([u, angle.sin(), angle.cos()], dim=1)


class Field(nn.Module):
    """One network with several outputs, e.g. velocity (n, d) and growth (n,).

    Parameters
    ----------
    dim
        Number of coordinates of the state.
    heads
        Quantity to number of outputs; a quantity with one output named in ``SCALARS``
        comes back with shape (n,).
    width, depth
        Size of the shared trunk.
    span
        Last time; times run from 0 to it.
    n_frequencies
        Frequencies of the time features.
    knots
        Times between which ``growth`` carries a constant offset, zero at first: see
        ``set_growth_offset``.
    generator
        Source of the initial weights; ``None`` leaves zeros, to be filled by
        ``load_state_dict``.
    device
        Where the weights live.
    """

    knots: Tensor
    growth_offset: Tensor
    SCALARS = frozenset({"growth", "potential"})

    def __init__(
        self,
        dim: int,
        heads: dict[str, int],
        *,
        width: int = 128,
        depth: int = 3,
        span: float = 1.0,
        n_frequencies: int = 4,
        knots: Sequence[float] = (),
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "dim": dim,
            "heads": heads,
            "width": width,
            "depth": depth,
            "span": span,
            "n_frequencies": n_frequencies,
            "knots": list(knots),
        }
        self.time = TimeFeatures(span, n_frequencies).to(device)
        sizes = [dim + self.time.size] + [width] * depth
        self.trunk = nn.ModuleList(make_linear(a, b, generator, device) for a, b in pairwise(sizes))
        self.head = make_linear(width, sum(heads.values()), generator, device)
        self.names = list(heads)
        self.sizes = list(heads.values())
        # targets are learned in units of their own mean and spread
        for name, size in heads.items():
            self.register_buffer(f"{name}_mean", torch.zeros(size, device=device))
            self.register_buffer(f"{name}_spread", torch.ones((), device=device))

        self.register_buffer("knots", torch.tensor(list(knots), device=device), persistent=False)
        self.register_buffer("growth_offset", torch.zeros(max(1, len(knots) - 1), device=device))

    def set_growth_offset(self, offset: Tensor) -> None:
        """Set the constant added to the growth in every interval between two knots."""
        self.growth_offset.copy_(offset)

    def set_output_scale(self, name: str, mean: Tensor, spread: Tensor) -> None:
        """Set the mean and spread of one quantity's target."""
        self.get_buffer(f"{name}_mean").copy_(mean)
        self.get_buffer(f"{name}_spread").copy_(spread)

    @torch.no_grad()
    def zero_head(self, name: str) -> None:
        """Let the network's output for one quantity be zero, until it is trained."""
        start = sum(self.sizes[: self.names.index(name)])
        rows = slice(start, start + self.sizes[self.names.index(name)])
        self.head.weight[rows] = 0.0
        self.head.bias[rows] = 0.0

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return every quantity at times ``t`` (n,) and states ``x`` (n, d)."""
        hidden = torch.cat([self.time(t), x], dim=1)
        for layer in self.trunk:
            hidden = nn.functional.silu(layer(hidden))
        parts = self.head(hidden).split(self.sizes, dim=1)
        result = {}
        for name, part in zip(self.names, parts, strict=True):
            mean, spread = self.get_buffer(f"{name}_mean"), self.get_buffer(f"{name}_spread")
            value = mean + spread * part
            result[name] = value[:, 0] if name in self.SCALARS else value
        if "growth" in result and len(self.knots) > 2:
            interval = torch.bucketize(t.contiguous(), self.knots[1:-1], right=True)
            result["growth"] = result["growth"] + self.growth_offset[interval]
        elif "growth" in result:
            result["growth"] = result["growth"] + self.growth_offset
        return result


class Ensemble(nn.Module):
    """Mean of several fields."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return the mean of every quantity."""
        outputs = [member(t, x) for member in self.members]
        return {k: torch.stack([o[k] for o in outputs]).mean(0) for k in outputs[0]}


def make_linear(
    n_in: int, n_out: int, generator: torch.Generator | None, device: torch.device | None
) -> nn.Linear:
    """Return a linear layer with torch's usual initial weights, drawn with ``generator``."""
    # nn.Linear would draw from the global generator; skip_init leaves the weights to us
    # and with device=None would leave them on the meta device
    device = torch.device("cpu") if device is None else device
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out, device=device)
    bound = 1 / math.sqrt(n_in)
    with torch.no_grad():
        if generator is None:
            layer.weight.zero_()
            layer.bias.zero_()
            return layer
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
