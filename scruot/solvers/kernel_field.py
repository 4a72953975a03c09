"""The exact minimiser of flow matching for a finite set of paths: a weighted average, no network.

At time t the paths z between paired cells are at ``x_t(z)`` with mass ``m_t(z)``. Smoothed by a
Gaussian of width h, the minimiser of the weighted regression of any rate ``u_t`` is

    u(t, x) = sum_z m_t(z) N(x; x_t(z), h^2) u_t(z) / sum_z m_t(z) N(x; x_t(z), h^2).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from scruot.dynamics.snapshots import Snapshots
from scruot.geometry import Geodesic, Path
from scruot.solvers.leaves import leaf_order, leaf_starts
from scruot.solvers.pair_table import JoinedPairs

# entries of one block of kernel values
_BLOCK = 2_000_000

# paths of an interval that every query may look at; beyond, those of the nearest leaves
_ALL = 16_384
_LEAF = 256
_LEAVES = 32


class KernelField(nn.Module):
    """Velocity and growth as kernel averages over travelling Diracs.

    Parameters
    ----------
    dim, n_cells
        Coordinates, and cells of all snapshots.
    sizes
        Number of pairs of every interval.
    times
        Times of the snapshots.
    delta
        Length that weighs growth against displacement.
    device
        Where the arrays live.
    """

    cells: Tensor
    first: Tensor
    last: Tensor
    m0: Tensor
    m1: Tensor
    bandwidth: Tensor
    growth_offset: Tensor

    def __init__(
        self,
        dim: int,
        n_cells: int,
        *,
        sizes: list[int],
        times: list[float],
        delta: float,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "dim": dim,
            "n_cells": n_cells,
            "sizes": list(sizes),
            "times": list(times),
            "delta": delta,
        }
        self.sizes, self.times = list(sizes), list(times)
        self.leaves = [number_of_leaves(size) for size in sizes]
        self.path: Path = Geodesic(delta)
        n_pairs, n_intervals = sum(sizes), len(sizes)
        self.register_buffer("cells", torch.zeros(n_cells, dim, device=device))
        for name in ("first", "last"):
            self.register_buffer(name, torch.zeros(n_pairs, dtype=torch.int64, device=device))
        for name in ("m0", "m1"):
            self.register_buffer(name, torch.zeros(n_pairs, device=device))
        self.register_buffer("bandwidth", torch.ones(n_intervals, device=device))
        self.register_buffer("growth_offset", torch.zeros(n_intervals, device=device))

    @classmethod
    def of_pairs(
        cls, pairs: JoinedPairs, clouds: Snapshots, delta: float, bandwidth: list[float]
    ) -> KernelField:
        """Return the field of paired cells, with one bandwidth per interval."""
        device = pairs.cells.device
        field = cls(
            clouds.dim,
            len(pairs.cells),
            sizes=pairs.sizes,
            times=list(clouds.times),
            delta=delta,
            device=device,
        )
        # only ratios of masses matter, and single precision resolves those to the largest
        unit = torch.cat([t / t.max() for t in pairs.total.split(pairs.sizes)]).float()
        order = field._order(pairs)
        field.cells.copy_(pairs.cells)
        field.first.copy_(pairs.i[order])
        field.last.copy_(pairs.j[order])
        field.m0.copy_((pairs.m0 * unit)[order])
        field.m1.copy_((pairs.m1 * unit)[order])
        field.bandwidth.copy_(torch.tensor(bandwidth, device=device))
        return field

    def _order(self, pairs: JoinedPairs) -> Tensor:
        """Return the pairs' order in leaves: near at both ends is near all the way."""
        ends = torch.cat([pairs.cells[pairs.i], pairs.cells[pairs.j]], dim=1)
        parts, start = [], 0
        for part, n_leaves in zip(ends.split(self.sizes), self.leaves, strict=True):
            parts.append(start + leaf_order(part, n_leaves))
            start += len(part)
        return torch.cat(parts)

    def set_growth_offset(self, offset: Tensor) -> None:
        """Set the constant added to the growth in every interval."""
        self.growth_offset.copy_(offset)

    def forward(self, t: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Return velocity (n, d) and growth (n,) at times ``t`` (n,) and states ``x`` (n, d)."""
        velocity, growth = torch.empty_like(x), x.new_empty(len(x))
        for time in t.unique().tolist():
            here = t == time
            velocity[here], growth[here] = self._at(time, x[here])
        return {"velocity": velocity, "growth": growth}

    def _at(self, time: float, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rates at one time; before the first and after the last they stay as there."""
        inner = self.times[1:-1]
        k = sum(time >= knot for knot in inner)
        duration = self.times[k + 1] - self.times[k]
        share = min(max((time - self.times[k]) / duration, 0.0), 1.0)
        rows = slice(sum(self.sizes[:k]), sum(self.sizes[: k + 1]))
        m0, m1 = self.m0[rows], self.m1[rows]
        point = self.path.at(
            torch.full_like(m0, share),
            self.cells[self.first[rows]],
            self.cells[self.last[rows]],
            m0,
            m1,
            torch.full_like(m0, duration),
        )
        rates = torch.cat([point.velocity, point.growth[:, None]], dim=1) / duration
        mean = kernel_mean(
            x, point.mean, point.mass.log(), rates, self.bandwidth[k] * 2**0.5, self.leaves[k]
        )
        return mean[:, :-1], mean[:, -1] + self.growth_offset[k]


def number_of_leaves(n_pairs: int) -> int:
    """Return the leaves of an interval: one while every query can look at all its paths."""
    if n_pairs <= _ALL:
        return 1
    return int(2 ** math.ceil(math.log2(n_pairs / _LEAF)))


def kernel_mean(
    x: Tensor, where: Tensor, log_mass: Tensor, values: Tensor, scale: Tensor, n_leaves: int
) -> Tensor:
    """Return the averages of ``values`` with weights ``mass exp(-|x - where|^2 / scale^2)``.

    Parameters
    ----------
    x
        Queries, shape (n, d).
    where, log_mass, values
        Points (p, d), logarithms of their masses (p,), and what to average (p, q).
    scale
        Width of the kernel, times the root of two.
    n_leaves
        Runs of near points in ``where``: beyond one, a query sees the points of the nearest
        leaves alone.

    Returns
    -------
    Averages, shape (n, q).
    """
    # about their own centre, where single precision resolves small distances
    centre = where.mean(0)
    x, where = (x - centre) / scale, (where - centre) / scale
    if n_leaves == 1:
        parts = [
            (log_mass - torch.cdist(part, where).square()).softmax(dim=1) @ values
            for part in x.split(max(1, _BLOCK // len(where)))
        ]
        return torch.cat(parts) if parts else values[:0]
    starts = leaf_starts(len(where), n_leaves)
    centres = torch.stack([part.mean(0) for part in where.tensor_split(starts[1:-1])])
    return _average_of_near(x, where, log_mass, values, centres)


def _average_of_near(
    x: Tensor, where: Tensor, log_mass: Tensor, values: Tensor, centres: Tensor
) -> Tensor:
    """Average over the points in the cells of the nearest centres, cell by cell."""
    block = max(1, _BLOCK // len(centres))
    home = torch.cat([torch.cdist(part, centres).argmin(1) for part in where.split(block)])
    order = torch.argsort(home, stable=True)
    points = order.split(torch.bincount(home, minlength=len(centres)).tolist())
    n_near = min(_LEAVES, len(centres))
    near = torch.cat(
        [torch.cdist(p, centres).topk(n_near, largest=False).indices for p in x.split(block)]
    )
    visits = torch.argsort(near.flatten(), stable=True)
    visitors = (visits // n_near).split(
        torch.bincount(near.flatten(), minlength=len(centres)).tolist()
    )
    best, weight = x.new_full((len(x),), -math.inf), x.new_zeros(len(x))
    total = x.new_zeros(len(x), values.shape[1])
    for rows, cell in zip(visitors, points, strict=True):
        if len(rows) == 0 or len(cell) == 0:
            continue
        logits = log_mass[cell] - torch.cdist(x[rows], where[cell]).square()
        # sums in units of the largest term so far
        top = torch.maximum(best[rows], logits.amax(1))
        kept = torch.where(top > -math.inf, (best[rows] - top).exp(), torch.ones_like(top))
        share = (logits - top.clamp_min(-1e30)[:, None]).exp()
        weight[rows] = weight[rows] * kept + share.sum(1)
        total[rows] = total[rows] * kept[:, None] + share @ values[cell]
        best[rows] = top
    return total / weight[:, None]
