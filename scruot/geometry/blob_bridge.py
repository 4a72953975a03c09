"""Bridges between two equal Gaussian blobs under noise: the least drift that joins them.

A blob ``N(0, h^2)`` that diffuses with variance ``sigma(t)^2`` per unit time returns to
``N(0, h^2)`` after a duration ``T`` with the least ``int E |b|^2 / 2 dt`` under a linear drift
``b = K(t) x`` with ``K' + K^2 = 0`` (the Riccati equation of the quadratic value function):

    K(t) = -u / (1 - u t),    S(t) = (1 - u t)^2 (h^2 + int_0^t sigma(r)^2 / (1 - u r)^2 dr),

with the one ``u`` in ``[0, 1/T)`` for which ``S(T) = h^2``. For constant noise this is the
Gaussian Schroedinger bridge, for ``h -> 0`` the Brownian bridge (``u = 1/T``), and without noise
nothing moves (``u = 0``). Noise is linear in time here: ``sigma(t)^2 = a + c t``.

References
----------
Bunne, Hsieh, Cuturi, Krause (2023), "The Schroedinger bridge between Gaussian measures has a
closed form", AISTATS :cite:p:`bunne2023`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_BISECTIONS = 200


@dataclass(frozen=True)
class BlobBridge:
    """The bridge of one coordinate over one interval.

    Parameters
    ----------
    blur
        Standard deviation ``h > 0`` at both ends.
    noise, slope
        ``a`` and ``c`` of the variance ``a + c t`` per unit time.
    duration
        Length ``T`` of the interval.
    """

    blur: float
    noise: float
    slope: float
    duration: float

    def __post_init__(self) -> None:
        low, high = 0.0, 1 / self.duration
        if self.noise == 0 and self.slope == 0:
            high = 0.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if self._end_variance(middle) > self.blur**2:
                low = middle
            else:
                high = middle
        object.__setattr__(self, "_u", low)

    @property
    def u(self) -> float:
        """Rate of contraction at the start of the interval."""
        return float(self._u)  # type: ignore[attr-defined]

    def variance(self, t: Tensor) -> Tensor:
        """Return ``S`` at times since the start of the interval, in double precision."""
        shrink = 1 - self.u * t
        return shrink**2 * (self.blur**2 + self._accumulated(t.double(), self.u))

    def drift_slope(self, t: Tensor) -> Tensor:
        """Return ``K``, the derivative of the drift in the state."""
        return -self.u / (1 - self.u * t)

    def _end_variance(self, u: float) -> float:
        shrink = 1 - u * self.duration
        if shrink <= 0:
            return 0.0
        end = torch.tensor(self.duration, dtype=torch.float64)
        return float(shrink**2 * (self.blur**2 + self._accumulated(end, u)))

    def _accumulated(self, t: Tensor, u: float) -> Tensor:
        """Return ``int_0^t (a + c r) / (1 - u r)^2 dr``."""
        a, c = self.noise, self.slope
        if u * self.duration < 1e-4:  # the closed form cancels; two terms of the series do not
            return a * t + c * t**2 / 2 + u * (a * t**2 + 2 * c * t**3 / 3)
        rest = torch.log1p(-u * t) / u + t / (1 - u * t)
        return a * t / (1 - u * t) + c * rest / u
