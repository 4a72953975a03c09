"""Distances to nearest neighbours, in row blocks."""

from __future__ import annotations

import torch
from torch import Tensor

# entries of one slice of the distance matrix
_SLICE = 4_000_000


def nearest_distance(queries: Tensor, points: Tensor, *, skip: int = 0) -> Tensor:
    """Return the distance of every query to its nearest point, shape (n,).

    Parameters
    ----------
    queries, points
        Shapes (n, d) and (m, d).
    skip
        How many of the nearest points to pass over: 1 when the queries are among the
        points.
    """
    if len(points) <= skip:
        return queries.new_zeros(len(queries))
    rows = max(1, _SLICE // len(points))
    blocks = []
    for block in queries.split(rows):
        # squared differences lose small distances to cancellation, the direct mode does not
        distance = torch.cdist(block, points, compute_mode="donot_use_mm_for_euclid_dist")
        blocks.append(distance.topk(skip + 1, dim=1, largest=False).values[:, skip])
    return torch.cat(blocks)


def typical_spacing(
    clouds: tuple[Tensor, ...], *, n_queries: int = 2000, neighbour: int = 1
) -> float:
    """Return the root mean square distance of a cell to its nearest neighbour in its cloud.

    Large clouds are queried at ``n_queries`` or more evenly spaced cells, against all others.
    ``neighbour`` asks for a later neighbour, or the last where there are fewer.
    """
    found = []
    for cloud in clouds:
        if len(cloud) > 1:
            stride = max(1, len(cloud) // n_queries)
            skip = min(neighbour, len(cloud) - 1)
            found.append(nearest_distance(cloud[::stride], cloud, skip=skip))
    return float(torch.cat(found).square().mean().sqrt()) if found else 0.0
