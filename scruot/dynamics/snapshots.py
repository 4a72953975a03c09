"""Weighted clouds of cells at known times, and the units a solver works in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Snapshots:
    """Weighted point clouds at increasing times.

    Parameters
    ----------
    times
        Strictly increasing times.
    x
        One ``(n_k, d)`` float32 tensor per time.
    weights
        One ``(n_k,)`` float64 tensor per time: the absolute mass of each cell. Their sum
        is the population at that time.
    batch
        One ``(n_k,)`` int64 tensor per time: the number of each cell's batch, where cells are to be
        coupled within batches only. Empty otherwise.
    """

    times: tuple[float, ...]
    x: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    batch: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.times) == len(self.x) == len(self.weights):
            msg = (
                f"Found {len(self.times)} times, {len(self.x)} clouds and {len(self.weights)} "
                "weight vectors; expected one cloud and one weight vector per time."
            )
            raise ValueError(msg)
        if len(self.times) < 2:
            msg = f"Found {len(self.times)} time point; dynamics need at least two."
            raise ValueError(msg)
        if not all(a < b for a, b in pairwise(self.times)):
            msg = f"Found times {self.times}; expected strictly increasing times."
            raise ValueError(msg)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.x[0].shape[1]

    @property
    def masses(self) -> tuple[float, ...]:
        """Population at every time, in units of the first."""
        totals = [float(w.sum()) for w in self.weights]
        return tuple(m / totals[0] for m in totals)

    @property
    def durations(self) -> tuple[float, ...]:
        """Length of every interval."""
        return tuple(b - a for a, b in pairwise(self.times))

    def to(self, device: torch.device) -> Snapshots:
        """Return the same clouds on another device (weights become float32 where needed)."""
        # mps has no float64; every other device keeps the weights' precision
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return Snapshots(
            self.times,
            tuple(x.to(device) for x in self.x),
            tuple(w.to(device=device, dtype=dtype) for w in self.weights),
            tuple(b.to(device) for b in self.batch),
        )

    def select(self, masks: list[Tensor]) -> Snapshots:
        """Keep a subset of the cells of every cloud, and the population of every cloud."""
        weights = [w[m] for w, m in zip(self.weights, masks, strict=True)]
        totals = [float(w.sum()) for w in self.weights]
        return Snapshots(
            self.times,
            tuple(x[m] for x, m in zip(self.x, masks, strict=True)),
            tuple(w * (total / float(w.sum())) for w, total in zip(weights, totals, strict=True)),
            tuple(b[m] for b, m in zip(self.batch, masks, strict=False)),
        )

    def standardised(self) -> tuple[Snapshots, Scale]:
        """Return the clouds in units of their own, and the scale that leads back.

        One length for all coordinates (distances keep their proportions), the mean interval
        as time unit, the first population as mass unit.
        """
        total = sum(len(x) for x in self.x)
        shift = torch.stack([x.double().sum(0) for x in self.x]).sum(0) / total
        squares = sum(float(((x.double() - shift) ** 2).sum()) for x in self.x)
        length = math.sqrt(squares / (total * self.dim))
        mean_interval = (self.times[-1] - self.times[0]) / len(self.durations)
        scale = Scale(
            shift=tuple(float(s) for s in shift),
            length=length if length > 0 else 1.0,
            origin=self.times[0],
            time=mean_interval,
        )
        first = self.weights[0].sum()
        scaled = Snapshots(
            tuple(scale.time_in(t) for t in self.times),
            tuple(((x.double() - shift) / scale.length).float() for x in self.x),
            tuple(w / first for w in self.weights),
            self.batch,
        )
        return scaled, scale


@dataclass(frozen=True)
class Scale:
    """Units of a standardised problem: ``x = shift + length x'``, ``t = origin + time t'``."""

    shift: tuple[float, ...]
    length: float
    origin: float
    time: float

    def time_in(self, t: float) -> float:
        """Return a user's time in the solver's unit."""
        return (t - self.origin) / self.time

    def x_in(self, x: Tensor) -> Tensor:
        """Return a user's coordinates in the solver's unit, as float32."""
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        shift = torch.as_tensor(self.shift, dtype=wide, device=x.device)
        return ((x.to(wide) - shift) / self.length).float()

    def x_out(self, x: Tensor) -> Tensor:
        """Return the solver's coordinates in the user's unit."""
        return torch.as_tensor(self.shift, dtype=x.dtype, device=x.device) + self.length * x

    def sigma_out(self, sigma: float) -> float:
        """Return a noise level (length per square root of time) in the user's units."""
        return sigma * self.length / math.sqrt(self.time)

    def factor(self, quantity: str) -> float:
        """Return what multiplies a solver's ``quantity`` to give it in the user's units."""
        return {
            "velocity": self.length / self.time,
            "drift": self.length / self.time,
            "growth": 1.0 / self.time,
            "score": 1.0 / self.length,
            "log_density": 1.0,
            "potential": self.length**2 / self.time,
        }[quantity]
