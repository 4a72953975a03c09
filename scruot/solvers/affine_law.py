"""The affine part of a law: the velocity and the score that a Gaussian law would have.

Where snapshots are Gaussian it is all there is, and it has few coefficients for many cells. A
network beside it need not learn what it says, and has no part of its noise to add.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scruot.dynamics.derivatives import ScalarJet

# pieces of an interval, in each of which coefficients are quadratic in time
_PIECES = 16


class AffineLaw(nn.Module):
    """A Gaussian law with a velocity that is affine in the state.

    Coefficients are quadratic splines in time within every interval, and may jump between
    intervals. The splines are convex combinations of what they are given, so that precisions stay
    positive.

    Parameters
    ----------
    knots
        Observed times.
    dim
        Number of coordinates.
    full
        Whether coordinates act on one another; if not, matrices are diagonal.
    device
        Where the coefficients live. Until they are set the law is the standard normal at rest.
    """

    knots: Tensor

    def __init__(
        self,
        knots: Sequence[float],
        dim: int,
        *,
        full: bool,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.config = {"knots": list(knots), "dim": dim, "full": full}
        n = (len(knots) - 1, _PIECES + 2)
        one = torch.eye(dim) if full else torch.ones(dim)
        # log density -x'Px/2 + q'x + level, velocity Gx + speed
        values = {
            "precision": one.expand(*n, *one.shape).clone(),
            "pull": torch.zeros(*n, dim),
            "level": torch.full(n, -dim / 2 * math.log(2 * math.pi)),
            "gain": torch.zeros(*n, *one.shape),
            "speed": torch.zeros(*n, dim),
        }
        for name, value in values.items():
            self.register_buffer(name, value.to(device))
        self.register_buffer("knots", torch.tensor(list(knots), device=device), persistent=False)

    @staticmethod
    def nodes() -> list[float]:
        """Return the shares of an interval at which coefficients are given."""
        return [0.0, *((i + 0.5) / _PIECES for i in range(_PIECES)), 1.0]

    def velocity(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the velocity (n, d) at times ``t`` (n,) and states ``x`` (n, d)."""
        at = self._at(t)
        turned = at.times_state(at.value(self.get_buffer("gain")), x)
        return turned + at.value(self.get_buffer("speed"))[at.row]

    def divergence(self, t: Tensor) -> Tensor:
        """Return the divergence of the velocity, shape (n,)."""
        at = self._at(t)
        gain = at.value(self.get_buffer("gain"))
        diagonal = gain.diagonal(dim1=1, dim2=2) if gain.ndim == 3 else gain
        return diagonal.sum(1)[at.row]

    def least_variance(self) -> float:
        """Return the least variance in any direction at an observed time."""
        ends = self.get_buffer("precision").cpu().double()[:, [0, -1]]
        full = self.config["full"]
        return 1 / float((torch.linalg.eigvalsh(ends) if full else ends).max())

    def log_density(self, t: Tensor, x: Tensor) -> ScalarJet:
        """Return the log density with its gradient and its derivative in time."""
        at = self._at(t)
        precision, pull, level = (self.get_buffer(name) for name in ("precision", "pull", "level"))
        pulled, towards = at.times_state(at.value(precision), x), at.value(pull)[at.row]
        value = at.value(level)[at.row] + (x * (towards - pulled / 2)).sum(1)
        turning = at.rate(pull)[at.row] - at.times_state(at.rate(precision), x) / 2
        return ScalarJet(value, towards - pulled, at.rate(level)[at.row] + (x * turning).sum(1))

    def _at(self, t: Tensor) -> _Moments:
        times, row = torch.unique(t, return_inverse=True)
        inner = self.knots[1:-1].contiguous()
        interval = torch.bucketize(times, inner, right=True)
        start, stop = self.knots[interval], self.knots[interval + 1]
        u = ((times - start) / (stop - start)).clamp(0, 1) * _PIECES
        piece = u.floor().clamp_max(_PIECES - 1)
        weights, slopes = _quadratic(u, piece)
        unit = (_PIECES / (stop - start))[:, None]
        return _Moments(interval, piece.long(), weights, slopes * unit, row)


class _Moments(NamedTuple):
    """Times: interval and piece of each, weights (m, 3) of the coefficients, and their rates.

    ``row`` (n,) has the time of every state.
    """

    interval: Tensor
    piece: Tensor
    weights: Tensor
    slopes: Tensor
    row: Tensor

    def value(self, coefficients: Tensor) -> Tensor:
        """Return coefficients (intervals, pieces + 2, ...) at every time."""
        return self._sum(coefficients, self.weights)

    def rate(self, coefficients: Tensor) -> Tensor:
        """Return their derivatives in time."""
        return self._sum(coefficients, self.slopes)

    def times_state(self, matrix: Tensor, x: Tensor) -> Tensor:
        """Return the product of every state with the matrix of its time."""
        if matrix.ndim == 2:
            return matrix[self.row] * x
        if len(matrix) == 1:
            return x @ matrix[0].T
        return torch.einsum("nij,nj->ni", matrix[self.row], x)

    def _sum(self, coefficients: Tensor, weights: Tensor) -> Tensor:
        near = torch.stack([self.piece + i for i in range(3)], dim=1)
        return torch.einsum("mk,mk...->m...", weights, coefficients[self.interval[:, None], near])


def _quadratic(u: Tensor, piece: Tensor) -> tuple[Tensor, Tensor]:
    """Return the three quadratic B-splines with clamped ends that are not zero at ``u``.

    Knots are 0, 0, 0, 1, 2, ... and three times the last; ``u`` lies in [piece, piece + 1].
    """
    low = (piece - 1).clamp_min(0)
    high = (piece + 2).clamp_max(_PIECES)
    left, right = piece + 1 - low, high - piece
    b = u - piece
    a = 1 - b
    first, last = a * a / left, b * b / right
    weights = torch.stack([first, 1 - first - last, last], dim=1)
    first, last = -2 * a / left, 2 * b / right
    return weights, torch.stack([first, -first - last, last], dim=1)
