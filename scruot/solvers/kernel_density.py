"""Gaussian kernel densities of the snapshots, in logarithms, and their bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scruot.dynamics.snapshots import Snapshots

__all__ = ["KernelDensity", "best_bandwidth", "kernel_densities"]

# entries of one block of squared distances
_BLOCK = 4_000_000
# cells at which a bandwidth is tried, and cells whose kernels they see
_ASKED, _SEEN = 500, 2000
# bandwidths that are tried, per coordinate, in units of the spread of all cells
_LEAST, _LARGEST, _TRIED = 1e-3, 3.0, 36


@dataclass(frozen=True, eq=False)
class KernelDensity:
    r"""The density :math:`\rho(x) = \sum_j w_j N(x; y_j, h^2 I)`.

    Parameters
    ----------
    x, log_weights
        Centres (m, d), and the logarithms (m,) of their masses.
    bandwidth
        Standard deviation ``h`` per coordinate.
    """

    x: Tensor
    log_weights: Tensor
    bandwidth: float

    def log(self, at: Tensor) -> Tensor:
        """Return the log density at ``at`` (n, d), shape (n,).

        Sums are taken in logarithms: far from all centres it is the parabola of the nearest,
        whose gradient leads back.
        """
        rows = max(1, _BLOCK // len(self.x))
        level = at.shape[1] * (math.log(self.bandwidth) + math.log(2 * math.pi) / 2)
        parts = [self._exponents(block).logsumexp(1) for block in at.split(rows)]
        return torch.cat(parts) - level

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` points, shape (n, d): centres by stratified sampling, and their noise."""
        device = self.x.device
        u = torch.rand(n, generator=generator, device=device)
        bounds = self.log_weights.softmax(0).cumsum(0)
        strata = (torch.arange(n, device=device) + u) / n
        chosen = torch.searchsorted(bounds, strata).clamp_max(len(self.x) - 1)
        normal = torch.randn(n, self.x.shape[1], generator=generator, device=device)
        return self.x[chosen] + self.bandwidth * normal

    def thinned(self, n: int, generator: torch.Generator) -> KernelDensity:
        """Return a random ``n`` of the centres, with the mass of all."""
        if len(self.x) <= n:
            return self
        kept = torch.randperm(len(self.x), generator=generator, device=self.x.device)[:n]
        log_weights = self.log_weights[kept]
        missing = self.log_weights.logsumexp(0) - log_weights.logsumexp(0)
        return KernelDensity(self.x[kept], log_weights + missing, self.bandwidth)

    def widened(self, factor: float) -> KernelDensity:
        """Return the density with its bandwidth times ``factor``."""
        return KernelDensity(self.x, self.log_weights, factor * self.bandwidth)

    def _exponents(self, at: Tensor) -> Tensor:
        # differences and not products: a narrow kernel would see the rounding of the latter
        away = torch.cdist(at, self.x, compute_mode="donot_use_mm_for_euclid_dist")
        return self.log_weights - away.square() / (2 * self.bandwidth**2)


def kernel_densities(clouds: Snapshots, bandwidth: float | None) -> list[KernelDensity]:
    """Return the density of every snapshot, with its mass in units of the first.

    Parameters
    ----------
    clouds
        The snapshots, the first of mass one.
    bandwidth
        One for all; ``None`` takes :func:`best_bandwidth` of every snapshot.
    """
    return [
        KernelDensity(x, w.log().float(), best_bandwidth(x, w) if bandwidth is None else bandwidth)
        for x, w in zip(clouds.x, clouds.weights, strict=True)
    ]


def best_bandwidth(x: Tensor, weights: Tensor) -> float:
    """Return the bandwidth under which a cell is most likely given all others.

    The leave-one-out likelihood is computed for bandwidths a quarter apart; the cells' spread in
    all coordinates is taken for one. A single cell, or cells that all coincide, get the least.

    Parameters
    ----------
    x, weights
        Cells (n, d) and their masses (n,).
    """
    asked, seen = (slice(None, None, max(1, len(x) // n)) for n in (_ASKED, _SEEN))
    away = torch.cdist(x[asked], x[seen], compute_mode="donot_use_mm_for_euclid_dist").square()
    numbers = torch.arange(len(x), device=x.device)
    own = numbers[asked, None] == numbers[None, seen]
    others = weights[seen].log().float().masked_fill(own, -math.inf)
    importance = weights[asked].float()
    best, found = -math.inf, _LEAST
    for i in range(_TRIED):
        h = _LEAST * (_LARGEST / _LEAST) ** (i / (_TRIED - 1))
        logs = (others - away / (2 * h**2)).logsumexp(1) - x.shape[1] * math.log(h)
        value = float((importance * logs).sum())
        if value > best:
            best, found = value, h
    return found
