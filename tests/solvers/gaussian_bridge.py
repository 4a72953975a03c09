"""The Schroedinger bridge between two Gaussians, in closed form.

Bunne, Hsieh, Cuturi, Krause (2023), "The Schroedinger bridge between Gaussian measures has a
closed form", AISTATS; Janati, Muzellec, Peyre, Cuturi (2020), NeurIPS, for the coupling.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import sqrtm

from scruot.dynamics import Snapshots


@dataclass
class GaussianBridge:
    """Law at the share ``s`` of an interval, and its rates per unit of time."""

    m0: np.ndarray
    s0: np.ndarray
    m1: np.ndarray
    s1: np.ndarray
    sigma: float
    duration: float = 1.0

    def __post_init__(self):
        self.noise = self.sigma**2 * self.duration
        one = np.eye(len(self.m0))
        root = np.real(sqrtm(self.s0))
        middle = np.real(sqrtm(4 * root @ self.s1 @ root + self.noise**2 * one))
        # covariance of the two ends
        self.c = (root @ middle @ np.linalg.inv(root) - self.noise * one) / 2

    def mean(self, s):
        return (1 - s) * self.m0 + s * self.m1

    def cov(self, s):
        cross = self.c + self.c.T + self.noise * np.eye(len(self.m0))
        return (1 - s) ** 2 * self.s0 + s**2 * self.s1 + s * (1 - s) * cross

    def score(self, s, x):
        return -(x - self.mean(s)) @ np.linalg.inv(self.cov(s))

    def drift(self, s, x):
        """Return the expected rate: towards the end, given the state now."""
        # covariance of the end with the state, less the state's own
        end = (1 - s) * self.c.T + s * self.s1
        gain = (end - self.cov(s)) @ np.linalg.inv(self.cov(s)) / (1 - s)
        return (self.m1 - self.m0 + (x - self.mean(s)) @ gain.T) / self.duration

    def velocity(self, s, x):
        return self.drift(s, x) - self.sigma**2 / 2 * self.score(s, x)

    def draw(self, s, n, seed):
        """Return n points whose mean and covariance are exact."""
        z = np.random.default_rng(seed).normal(size=(n, len(self.m0)))
        z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T, bias=True))).T
        return self.mean(s) + z @ np.linalg.cholesky(self.cov(s)).T

    def snapshots(self, n, mass=1.0):
        x = [torch.from_numpy(self.draw(s, n, seed)).float() for s, seed in ((0, 1), (1, 2))]
        weights = [torch.full((n,), m / n, dtype=torch.float64) for m in (1.0, mass)]
        return Snapshots((0.0, self.duration), tuple(x), tuple(weights))


def example(d, sigma, duration=1.0):
    """Return a bridge between two Gaussians of different shape."""
    rng = np.random.default_rng(d)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    s0 = np.diag(np.linspace(0.5, 1.2, d))
    s1 = turn @ np.diag(np.linspace(1.3, 0.4, d)) @ turn.T
    return GaussianBridge(np.zeros(d), s0, np.full(d, 2 / np.sqrt(d)), s1, sigma, duration)
