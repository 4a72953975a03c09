"""Pairs of cells of all intervals in one table."""

from __future__ import annotations

import torch

from scruot.dynamics.snapshots import Snapshots
from scruot.transport import PairTable


class JoinedPairs:
    """Every pair of every interval, with indices into the cells of all snapshots.

    Parameters
    ----------
    snapshots
        The clouds.
    tables
        One table of pairs per interval.

    Attributes
    ----------
    cells
        All cells, shape (n, d).
    i, j
        First and last cell of each pair, int64, shape (p,); the same where a cell dies or is
        born without a partner.
    m0, m1
        Masses at both ends, in units of their sum, float32: only their ratio matters to a path.
    total
        That sum, absolute.
    interval
        Number of each pair's interval.
    sizes
        Number of pairs of each interval.
    """

    def __init__(self, snapshots: Snapshots, tables: list[PairTable]) -> None:
        self.cells = torch.cat(snapshots.x)
        self.sizes = [len(t.m0) for t in tables]
        offset = 0
        first, last = [], []
        for cloud, table in zip(snapshots.x, tables, strict=False):
            source, target = table.source + offset, table.target + offset + len(cloud)
            first.append(torch.where(table.source < 0, target, source))
            last.append(torch.where(table.target < 0, source, target))
            offset += len(cloud)
        self.i, self.j = torch.cat(first), torch.cat(last)
        m0, m1 = torch.cat([t.m0 for t in tables]), torch.cat([t.m1 for t in tables])
        self.total = m0 + m1
        self.m0, self.m1 = (m0 / self.total).float(), (m1 / self.total).float()
        numbers = torch.arange(len(tables), device=self.cells.device)
        self.interval = numbers.repeat_interleave(
            torch.tensor(self.sizes, device=self.cells.device)
        )
