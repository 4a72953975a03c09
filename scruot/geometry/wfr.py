"""Closed forms of the Wasserstein-Fisher-Rao (Hellinger-Kantorovich) geometry.

The travelling Dirac is written on the cone over the state space, where it is a straight
segment: with amplitudes ``p_i = sqrt(m_i)`` and the angle ``theta = |x1 - x0| / (2 delta)``

    z(s) = (1 - s) p0 + s p1 exp(i theta),    m = |z|^2,    x = x0 + 2 delta arg(z) e.

This form divides by no distance and no mass, so it holds for coinciding points, for any mass
ratio, and for pure death (``m1 = 0``) and pure birth (``m0 = 0``), in single precision.

References
----------
Chizat, Peyre, Schmitzer, Vialard (2018), Found. Comput. Math. 18, 1-44
:cite:p:`chizat2018interpolating`; Liero, Mielke, Savare (2018), Invent. Math. 211, 969-1117
:cite:p:`liero2018`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class TravellingDirac(NamedTuple):
    """State of travelling Diracs at chosen times of a unit interval.

    ``x`` (n, d) position, ``mass`` (n,), ``velocity`` (n, d) and ``growth`` (n,) per unit of
    the interval: divide both by its duration.
    """

    x: Tensor
    mass: Tensor
    velocity: Tensor
    growth: Tensor


def travelling_dirac(
    s: Tensor, x0: Tensor, x1: Tensor, m0: Tensor, m1: Tensor, delta: float
) -> TravellingDirac:
    """Return the WFR geodesic from ``m0 dirac(x0)`` to ``m1 dirac(x1)`` at ``s`` in [0, 1].

    Parameters
    ----------
    s
        Times, shape (n,).
    x0, x1
        Ends, shape (n, d), closer than ``pi delta``.
    m0, m1
        Masses at the ends, shape (n,). For a death give ``m1 = 0`` and ``x1 = x0``, for a
        birth ``m0 = 0`` and ``x0 = x1``.
    delta
        Length that weighs growth against displacement.
    """
    step = x1 - x0
    distance = torch.linalg.vector_norm(step, dim=1)
    theta = distance / (2 * delta)
    # a unit vector, and zero where the ends coincide
    direction = step / distance.clamp_min(torch.finfo(step.dtype).tiny)[:, None]
    p0, p1 = m0.sqrt(), m1.sqrt()
    cos, sin = torch.cos(theta), torch.sin(theta)
    # z = real + i imag and its derivative in s
    real, imag = (1 - s) * p0 + s * p1 * cos, s * p1 * sin
    real_rate, imag_rate = p1 * cos - p0, p1 * sin
    mass = real**2 + imag**2
    safe = mass.clamp_min(torch.finfo(mass.dtype).tiny)
    angle = torch.atan2(imag, real)
    return TravellingDirac(
        x=x0 + (2 * delta * angle)[:, None] * direction,
        mass=mass,
        velocity=(2 * delta * p0 * p1 * sin / safe)[:, None] * direction,
        growth=2 * (real * real_rate + imag * imag_rate) / safe,
    )


def dirac_distance_squared(distance: float, m0: float, m1: float, delta: float) -> float:
    """Return WFR^2 of two Diracs: ``2 delta^2 (m0 + m1 - 2 sqrt(m0 m1) cos_+(d / (2 delta)))``.

    This is the least action ``int 1/2 (|u|^2 + delta^2 g^2) m ds`` over a unit of time.
    """
    theta = min(distance / (2 * delta), math.pi / 2)
    return 2 * delta**2 * (m0 + m1 - 2 * math.sqrt(m0 * m1) * math.cos(theta))
