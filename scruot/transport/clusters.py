"""Clusters of a cloud: a coarse picture of it, and bounds on distances to groups of cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

__all__ = ["Clusters", "cluster"]

_CELLS_PER_CLUSTER = 200
_FEWEST, _MOST = 100, 1000


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of a cloud; some may be empty.

    Attributes
    ----------
    centre
        Centres, shape ``(k, d)``.
    mass
        Mass of each cluster.
    label
        Cluster of each cell.
    """

    centre: Tensor
    mass: Tensor
    label: Tensor

    @cached_property
    def order(self) -> Tensor:
        """Cells by cluster."""
        return torch.argsort(self.label, stable=True)

    @cached_property
    def counts(self) -> Tensor:
        """Cells of each cluster."""
        return torch.bincount(self.label, minlength=len(self.mass))

    def members(self) -> list[Tensor]:
        """Return the cells of each cluster."""
        return list(self.order.split(self.counts.tolist()))

    def largest(self, value: Tensor) -> Tensor:
        """Largest value of a cell in each cluster; minus infinity in an empty one."""
        return torch.segment_reduce(value[self.order], "max", lengths=self.counts, unsafe=True)

    def radius(self, x: Tensor) -> Tensor:
        """Largest distance of a cell from the centre of its cluster."""
        return self.largest((x - self.centre[self.label]).square().sum(1).sqrt()).clamp_min(0.0)

    def subset(self, keep: Tensor) -> Clusters:
        """Return the same clusters with some of the cells."""
        return Clusters(self.centre, self.mass, self.label[keep])


def cluster(x: Tensor, mass: Tensor, seed: int) -> Clusters:
    """Group cells by mini-batch k-means; empty clusters are dropped."""
    n = x.shape[0]
    k = max(math.ceil(n / _CELLS_PER_CLUSTER), min(_FEWEST, math.ceil(n / 8)))
    k = min(k, _MOST)
    means = MiniBatchKMeans(k, random_state=seed, batch_size=4096, n_init=1, max_iter=20)
    found = torch.from_numpy(means.fit_predict(x.cpu().numpy())).to(x.device, torch.int64)
    label = torch.unique(found, return_inverse=True)[1]
    order = torch.argsort(label, stable=True)
    lengths = torch.bincount(label)

    def total(value: Tensor) -> Tensor:
        return torch.segment_reduce(value[order], "sum", lengths=lengths, axis=0, unsafe=True)

    weight = total(mass)
    return Clusters(total(mass[:, None] * x) / weight[:, None], weight, label)
