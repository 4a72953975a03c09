"""The law behind :func:`scruot.datasets.branching`: two nested forks in three coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]

FATES = ("A", "B", "C")
STATES = ("progenitor", "bipotent", *FATES)
# Where each state sits on (progress, first fork, second fork).
CENTRES = np.array([[0, 0, 0], [2, 1, 0], [3, -1, 0], [3, 1, -1], [3, 1, 1]], dtype=float)
START_STD = np.array([0.2, 0.4, 0.2])
N_CORE = 3

_LEANING = np.array([0.0, 1.0, 1.0])
_STRENGTH = 1.5
_FIRST, _SECOND = 0.7, 2.0
_END = 4.5


def _gate(z: Array) -> Array:
    """Return the logistic function, which never overflows in this form."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), dtype=np.float64)


@dataclass(frozen=True)
class Forks:
    """Drift and growth on (progress s, first fork u, second fork w).

    ``s`` advances at unit speed. ``u`` has one well until ``s = 0.7`` and two after it, at
    ``u = -1`` (fate A) and ``u = 1``; there, ``w`` has two from ``s = 2`` on, at ``w = -1``
    (fate B) and ``w = 1`` (fate C). All of this is relative to a midline that leans by ``lean``
    per unit of progress in ``u`` and in ``w``, so that progenitors do not lie between the fates.
    """

    growth_rates: tuple[float, float, float]
    bias: float
    turnover: float
    sigma: float
    lean: float = 0.0

    def upright(self, core: Array) -> Array:
        """Return the coordinates relative to the midline (n, 3)."""
        return np.asarray(core - self.lean * core[:, :1] * _LEANING, dtype=np.float64)

    def drift(self, core: Array) -> Array:
        """Return the drift (n, 3)."""
        s, u, w = self.upright(core).T
        first = _STRENGTH * np.tanh(1.5 * (s - _FIRST))
        # The second fork opens only on the side of u that leads to it.
        second = _STRENGTH * ((1.0 + np.tanh(1.5 * (s - _SECOND))) * _gate(6.0 * u) - 1.0)
        du = first * u - _STRENGTH * u**3 + self.bias * _gate(3.0 * (s - 0.5))
        dw = second * w - _STRENGTH * w**3
        ds = np.tanh(_END - s)
        return np.stack((ds, du + self.lean * ds, dw + self.lean * ds), axis=1)

    def growth(self, core: Array) -> Array:
        """Return birth minus death (n,); each fate has its own rate, progenitors none."""
        s, u, w = self.upright(core).T
        right, up = _gate(5.0 * u), _gate(5.0 * w)
        a, b, c = self.growth_rates
        mixed = (1.0 - right) * a + right * ((1.0 - up) * b + up * c)
        return np.asarray(_gate(3.0 * (s - 1.5)) * mixed, dtype=np.float64)

    def move(self, core: Array, dt: float, rng: np.random.Generator) -> Array:
        """Return the cells one Euler-Maruyama step later."""
        noise = self.sigma * np.sqrt(dt) * rng.standard_normal(core.shape)
        return np.asarray(core + dt * self.drift(core) + noise, dtype=np.float64)

    def reproduce(self, core: Array, dt: float, rng: np.random.Generator) -> Array:
        """Return the population after the births and deaths of one step."""
        growth = self.growth(core)
        birth = dt * (self.turnover + np.maximum(growth, 0.0))
        death = dt * (self.turnover + np.maximum(-growth, 0.0))
        draw = rng.random(len(core))
        copies = np.where(draw < birth, 2, np.where(draw < birth + death, 0, 1))
        return np.repeat(core, copies, axis=0)

    def fate(self, core: Array) -> npt.NDArray[np.int64]:
        """Return the fate of cells at the last time: the well that they are in."""
        _, u, w = self.upright(core).T
        return np.where(u < 0, 0, np.where(w < 0, 1, 2))

    def state(self, core: Array) -> npt.NDArray[np.int64]:
        """Return the nearest state, as an index into ``STATES``."""
        squared = ((self.upright(core)[:, None, :] - CENTRES) ** 2).sum(axis=2)
        return squared.argmin(axis=1)


def continue_cells(
    law: Forks, core: Array, duration: float, n: int, dt: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return fate probabilities (m, 3) and expected descendants (m,) after ``duration``.

    ``n`` particles per cell, weighted by the exponential of the growth along their paths,
    which is the expected number of descendants given the path.
    """
    n_steps = int(np.ceil(duration / dt - 1e-9))
    probabilities, descendants = [], []
    rows = max(1, 100_000 // n)
    for begin in range(0, len(core), rows):
        block = core[begin : begin + rows]
        particles = np.repeat(block, n, axis=0)
        log_weight = np.zeros(len(particles))
        for _ in range(n_steps):
            log_weight += duration / n_steps * law.growth(particles)
            particles = law.move(particles, duration / n_steps, rng)
        weight = np.exp(log_weight)
        ended = law.fate(particles)
        mass = [((ended == k) * weight).reshape(-1, n).mean(axis=1) for k in range(len(FATES))]
        total = np.sum(mass, axis=0)
        probabilities.append(np.stack(mass, axis=1) / total[:, None])
        descendants.append(total)
    return np.concatenate(probabilities), np.concatenate(descendants)
