"""The coupling of one interval, within batches where the snapshots have any."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from scruot.dynamics.snapshots import Snapshots
from scruot.transport import Coupling, couple_within


def couple_interval(
    clouds: Snapshots, interval: int, solve: Callable[[Tensor, Tensor, Tensor, Tensor], Coupling]
) -> Coupling:
    """Couple a snapshot with the next.

    Parameters
    ----------
    clouds
        The clouds.
    interval
        Position of the snapshot.
    solve
        Couples two clouds with their masses: ``solve(x0, x1, a, b)``.
    """
    ends = slice(interval, interval + 2)
    if not clouds.batch:
        return solve(*clouds.x[ends], *clouds.weights[ends])
    batch0, batch1 = clouds.batch[ends]
    return couple_within(
        *clouds.x[ends], *clouds.weights[ends], batch0=batch0, batch1=batch1, solve=solve
    )
