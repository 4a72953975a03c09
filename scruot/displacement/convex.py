"""Input-convex networks on top of a quadratic, with their gradients in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["ConvexPotential"]

# Up to this dimension the quadratic is a full matrix, beyond it a diagonal one.
FULL_UP_TO = 64
# Beyond this dimension steps of input weights shrink with the number of inputs: a step of equal
# size in every one of d weights moves the output by d times as much.
_INPUTS = 64
# Output weights at the start: the network is a small change of the quadratic.
_START = 1e-2


class ConvexPotential(nn.Module):
    r"""A convex function :math:`\tfrac12 |L x|^2 + c^\top x + \mathrm{ICNN}(x)`.

    The network has softplus layers that see the input and, through weights that stay nonnegative,
    the layer before (Amos, Xu and Kolter 2017 :cite:p:`amos2017`). It starts as
    :math:`\tfrac12 |x|^2 + c^\top x`, the potential of a translation, up to a small change.

    Parameters
    ----------
    dim
        Number of coordinates.
    width, depth
        Size of the network.
    generator
        Source of the initial weights.
    device
        Where it lives.
    """

    def __init__(
        self,
        dim: int,
        *,
        width: int = 64,
        depth: int = 2,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.dim = dim

        def uniform(*shape: int, bound: float, low: float | None = None) -> nn.Parameter:
            empty = torch.empty(*shape, device=device)
            start = -bound if low is None else low
            return nn.Parameter(empty.uniform_(start, bound, generator=generator))

        root = 1 / math.sqrt(dim)
        self.inputs = nn.ParameterList(uniform(width, dim, bound=root) for _ in range(depth))
        self.biases = nn.ParameterList(uniform(width, bound=1.0) for _ in range(depth))
        self.between = nn.ParameterList(
            uniform(width, width, bound=2 / width, low=0.0) for _ in range(depth - 1)
        )
        self.out = uniform(width, bound=_START / width, low=0.0)
        self.linear = nn.Parameter(torch.zeros(dim, device=device))
        eye = torch.eye(dim, device=device) if dim <= FULL_UP_TO else torch.ones(dim, device=device)
        self.factor = nn.Parameter(eye)

    def groups(self, lr: float) -> list[dict[str, object]]:
        """Return groups of parameters with their step sizes, for an optimiser."""
        slow = lr * min(1.0, _INPUTS / self.dim)
        fast = [*self.biases, *self.between, self.out, self.linear]
        return [
            {"params": list(self.inputs), "lr": slow},
            {"params": [self.factor], "lr": slow if self.dim > FULL_UP_TO else lr},
            {"params": fast, "lr": lr},
        ]

    @torch.no_grad()
    def project(self) -> None:
        """Make the weights that must not be negative nonnegative again."""
        for weight in (*self.between, self.out):
            weight.clamp_(min=0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values, shape (n,)."""
        _, hidden = self._layers(x)
        square = x @ self.factor.T if self.factor.ndim == 2 else x * self.factor
        return 0.5 * square.square().sum(1) + x @ self.linear + hidden @ self.out

    def gradient(self, x: Tensor) -> Tensor:
        """Return the gradients, shape (n, d); differentiable by the parameters."""
        raw, _ = self._layers(x)
        back = self.out * raw[-1].sigmoid()
        total = back @ self.inputs[-1]
        for i in range(len(raw) - 2, -1, -1):
            back = (back @ self.between[i]) * raw[i].sigmoid()
            total = total + back @ self.inputs[i]
        if self.factor.ndim == 2:
            return total + self.linear + (x @ self.factor.T) @ self.factor
        return total + self.linear + x * self.factor.square()

    def _layers(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        raw: list[Tensor] = []
        hidden = x
        for i, (weight, bias) in enumerate(zip(self.inputs, self.biases, strict=True)):
            value = x @ weight.T + bias
            if i:
                value = value + hidden @ self.between[i - 1].T
            raw.append(value)
            hidden = nn.functional.softplus(value)
        return raw, hidden
