"""Static interpolation between two clouds along a coupling: no model, no training."""

from __future__ import annotations

import torch
from torch import Tensor

from scruot.geometry.wfr import travelling_dirac
from scruot.transport.coupling import Coupling
from scruot.transport.pairs import PairTable, pairs
from scruot.transport.solve import wfr_coupling

__all__ = ["interpolate", "interpolate_wfr", "wfr_interpolation"]


def wfr_interpolation(
    x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, delta: float, *, share: float
) -> tuple[Tensor, Tensor]:
    r"""Weighted cells on the geodesic from one cloud to another.

    Every pair of the optimal coupling travels on its own geodesic; cells without a partner die
    or are born where they are.

    Parameters
    ----------
    x0, x1
        Clouds, shapes ``(n, d)`` and ``(m, d)``.
    a, b
        Absolute masses of their cells.
    delta
        Length scale of growth against transport.
    share
        Where between the clouds, from 0 to 1.

    Returns
    -------
    Positions ``(p, d)`` and masses ``(p,)``, one per pair of the coupling.

    References
    ----------
    Chizat, Peyre, Schmitzer and Vialard, Found. Comput. Math. 18 (2018)
    :cite:p:`chizat2018interpolating`.

    Examples
    --------
    >>> import torch
    >>> x, one = torch.zeros(1, 1), torch.ones(1)
    >>> _, mass = wfr_interpolation(x, x, one, 4 * one, 1.0, share=0.5)
    >>> round(float(mass.sum()), 6)
    2.25
    """
    return interpolate_wfr(wfr_coupling(x0, x1, a, b, delta), x0, x1, delta, share=share)


def interpolate_wfr(
    coupling: Coupling, x0: Tensor, x1: Tensor, delta: float, *, share: float
) -> tuple[Tensor, Tensor]:
    """Weighted cells part of the way along a WFR coupling, as :func:`wfr_interpolation`."""
    table = pairs(coupling)
    start, end = _ends(table, x0, x1)
    s = torch.full((len(table),), share, dtype=x0.dtype, device=x0.device)
    path = travelling_dirac(s, start, end, table.m0.to(s.dtype), table.m1.to(s.dtype), delta)
    return path.x, path.mass


def interpolate(
    coupling: Coupling, x0: Tensor, x1: Tensor, *, share: float
) -> tuple[Tensor, Tensor]:
    r"""Weighted cells part of the way along any coupling: displacement interpolation.

    Every pair of the plan travels straight, at constant speed. Its mass changes linearly from its
    part of the source cell, ``a_i G_ij / sum_j G_ij``, to its part of the target cell, ``b_j G_ij /
    sum_i G_ij``; cells without a partner fade out or in where they are. So the ends are the two
    clouds, with all their mass, and the total mass in between lies on the line between theirs.

    Parameters
    ----------
    coupling
        A coupling of the clouds.
    x0, x1
        The clouds, shapes ``(n, d)`` and ``(m, d)``.
    share
        Where between the clouds, from 0 to 1.

    Returns
    -------
    Positions ``(p, d)`` and masses ``(p,)``, one per pair.

    Raises
    ------
    ValueError
        If the clouds are not those of the coupling, or ``share`` is out of range.

    References
    ----------
    McCann, *A convexity principle for interacting gases*, Adv. Math. 128 (1997)
    :cite:p:`mccann1997`.

    Examples
    --------
    >>> import torch
    >>> from scruot.transport import Penalty, couple
    >>> x, one, exact = torch.zeros(1, 1), torch.ones(1), Penalty("exact")
    >>> plan = couple(x, x + 4, one, 3 * one, source=Penalty("kl", 50.0), target=exact)
    >>> [v.tolist() for v in interpolate(plan, x, x + 4, share=0.25)]
    [[[1.0]], [1.5]]
    """
    if (len(x0), len(x1)) != coupling.shape:
        msg = f"Found {len(x0)} and {len(x1)} cells, expected {coupling.shape} like the coupling."
        raise ValueError(msg)
    if not 0 <= share <= 1:
        msg = f"Found share = {share}, expected a number from 0 to 1."
        raise ValueError(msg)
    table = pairs(coupling)
    start, end = _ends(table, x0, x1)
    mass = torch.lerp(table.m0, table.m1, share)
    return torch.lerp(start, end, share), mass.to(x0.dtype)


def _ends(table: PairTable, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
    """Where every pair starts and ends; a birth and a death stay where they are."""
    birth, death = (table.source < 0)[:, None], (table.target < 0)[:, None]
    # an index of -1 reads the last row, which the other end then replaces
    start, end = x0[table.source], x1[table.target]
    return torch.where(birth, end, start), torch.where(death, start, end)
