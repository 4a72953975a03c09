"""Couplings that stay within batches: no cell is coupled with one of another batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scruot.transport.coupling import Coupling

__all__ = ["couple_each", "couple_within", "share_masses"]

Solve = Callable[[Tensor, Tensor, Tensor, Tensor], Coupling]


def couple_within(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    batch0: Tensor,
    batch1: Tensor,
    solve: Solve,
) -> Coupling:
    r"""Couple the cells of every batch among themselves, and join the plans.

    How many cells a batch has at a time says how many were captured there. So each batch is taken
    to grow as the whole does: it has the same share of the mass at both ends, the mean of its
    shares of the two observed masses. Batches without mass at one end have no part, and the others
    share what was theirs.

    Parameters
    ----------
    x0, x1
        Source and target cells, shapes ``(n, d)`` and ``(m, d)``.
    a, b
        Their masses, shapes ``(n,)`` and ``(m,)``.
    batch0, batch1
        Number of each cell's batch, int64, shapes ``(n,)`` and ``(m,)``.
    solve
        Couples two clouds with their masses.

    Returns
    -------
    One plan. Its prescribed masses ``a`` and ``b`` are those of the shares, zero for cells without
    a part, and sum to the given ones; values are sums over the batches.

    Raises
    ------
    ValueError
        When no batch has mass at both ends.

    Examples
    --------
    >>> import torch
    >>> from scruot.transport import couple_within, wfr_coupling
    >>> x, one = torch.tensor([[0.0], [1.0]]), torch.ones(2)
    >>> plan = couple_within(
    ...     x, x.flip(0), one, one, batch0=torch.tensor([0, 1]), batch1=torch.tensor([0, 1]),
    ...     solve=lambda *ends: wfr_coupling(*ends, 1.0),
    ... )
    >>> plan.row.tolist(), plan.col.tolist()
    ([0, 1], [0, 1])
    """
    source, target = share_masses(a, b, batch0=batch0, batch1=batch1)
    return couple_each(x0, x1, source, target, batch0=batch0, batch1=batch1, solve=solve)


def share_masses(a: Tensor, b: Tensor, *, batch0: Tensor, batch1: Tensor) -> tuple[Tensor, Tensor]:
    """Give every batch the same share of the mass at both ends, the mean of what it has there.

    Parameters
    ----------
    a, b, batch0, batch1
        As in :func:`couple_within`.

    Returns
    -------
    Masses of the same sums, zero for cells of batches without mass at one end.

    Raises
    ------
    ValueError
        When no batch has mass at both ends.
    """
    total_a, total_b = a.sum(), b.sum()
    source, target = torch.zeros_like(a), torch.zeros_like(b)
    for batch, share in _shares(a, b, batch0, batch1).items():
        i, j = batch0 == batch, batch1 == batch
        source[i] = a[i] * (share * total_a / a[i].sum())
        target[j] = b[j] * (share * total_b / b[j].sum())
    return source, target


def couple_each(
    x0: Tensor,
    x1: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    batch0: Tensor,
    batch1: Tensor,
    solve: Solve,
) -> Coupling:
    """Couple within batches with masses as they are; those without mass at an end have no part."""
    plans, rows, cols = [], [], []
    source, target = torch.zeros_like(a), torch.zeros_like(b)
    for batch in torch.unique(torch.cat([batch0, batch1])).tolist():
        i, j = (torch.nonzero(own == batch)[:, 0] for own in (batch0, batch1))
        if min(float(a[i].sum()), float(b[j].sum())) <= 0:
            continue
        plan = solve(x0[i], x1[j], a[i], b[j])
        source[i], target[j] = plan.a.to(a), plan.b.to(b)
        plans.append(plan)
        rows.append(i[plan.row])
        cols.append(j[plan.col])
    return _joined(plans, torch.cat(rows), torch.cat(cols), source, target)


def _shares(a: Tensor, b: Tensor, batch0: Tensor, batch1: Tensor) -> dict[int, float]:
    """Return the share of every batch that has mass at both ends."""
    masses = {}
    for batch in torch.unique(torch.cat([batch0, batch1])).tolist():
        ends = float(a[batch0 == batch].sum()), float(b[batch1 == batch].sum())
        if min(ends) > 0:
            masses[batch] = ends
    if not masses:
        msg = (
            "No batch has cells at both ends of an interval; couplings within batches need one: "
            "give batches that span the times."
        )
        raise ValueError(msg)
    totals = [sum(ends[k] for ends in masses.values()) for k in (0, 1)]
    return {
        batch: (start / totals[0] + end / totals[1]) / 2 for batch, (start, end) in masses.items()
    }


def _joined(
    plans: list[Coupling], row: Tensor, col: Tensor, source: Tensor, target: Tensor
) -> Coupling:
    order = torch.argsort(row * len(target) + col)
    first = plans[0]
    dtype = first.mass.dtype
    return Coupling(
        row=row[order],
        col=col[order],
        mass=torch.cat([plan.mass for plan in plans])[order],
        shape=(len(source), len(target)),
        a=source.to(dtype),
        b=target.to(dtype),
        primal=sum(plan.primal for plan in plans),
        dual=sum(plan.dual for plan in plans),
        method=first.method,
        certified=all(plan.certified for plan in plans),
        converged=all(plan.converged for plan in plans),
        reg=first.reg,
        source=first.source,
        target=first.target,
    )
