"""Static interpolation between two clouds along WFR geodesics: no model, no training."""

from __future__ import annotations

import torch
from torch import Tensor

from scruot.geometry.wfr import travelling_dirac
from scruot.transport.pairs import pairs
from scruot.transport.solve import wfr_coupling

__all__ = ["wfr_interpolation"]


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
    Chizat, Peyre, Schmitzer and Vialard, Found. Comput. Math. 18 (2018).

    Examples
    --------
    >>> import torch
    >>> x, one = torch.zeros(1, 1), torch.ones(1)
    >>> _, mass = wfr_interpolation(x, x, one, 4 * one, 1.0, share=0.5)
    >>> round(float(mass.sum()), 6)
    2.25
    """
    table = pairs(wfr_coupling(x0, x1, a, b, delta))
    birth, death = (table.source < 0)[:, None], (table.target < 0)[:, None]
    # an index of -1 reads the last row, which the other end then replaces
    start, end = x0[table.source], x1[table.target]
    start, end = torch.where(birth, end, start), torch.where(death, start, end)
    s = torch.full((len(table),), share, dtype=x0.dtype, device=x0.device)
    path = travelling_dirac(s, start, end, table.m0.to(s.dtype), table.m1.to(s.dtype), delta)
    return path.x, path.mass
