"""Densities of the observed clouds: Gaussian mixtures with as many components as pay."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from scruot.dynamics.snapshots import Snapshots
from scruot.geometry.neighbours import typical_spacing

# cells of a cloud that a mixture is fitted to
_MOST_CELLS = 2000
_COMPONENTS = (1, 2, 3, 4, 6, 8)
# a full covariance has d^2 / 2 parameters
_MOST_FULL = 20
# largest blur, in units of the cells' spread within their clouds: it widens them by its square
_MOST_BLUR = 0.15


@dataclass(frozen=True, eq=False)
class CloudDensity:
    """A Gaussian mixture of a given mass.

    Parameters
    ----------
    mass
        Mass of the whole.
    weights, means
        Shares (c,) and centres (c, d) of the components.
    factors
        Lower triangular square roots of the covariances, (c, d, d), or standard deviations of
        every coordinate, (c, d).
    """

    mass: float
    weights: Tensor
    means: Tensor
    factors: Tensor

    def log(self, x: Tensor) -> Tensor:
        """Return the log density at ``x`` (n, d)."""
        away = x - self.means[:, None]
        if self.factors.ndim == 3:
            white = torch.linalg.solve_triangular(self.factors, away.mT, upper=False).mT
            log_scale = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        else:
            white = away / self.factors[:, None]
            log_scale = self.factors.log().sum(1)
        normal = -white.square().sum(2) / 2 - x.shape[1] / 2 * math.log(2 * math.pi)
        parts = (self.weights.log() - log_scale)[:, None] + normal
        return torch.logsumexp(parts, 0) + math.log(self.mass)

    def score(self, x: Tensor) -> Tensor:
        """Return the gradient of the log density at ``x``, shape (n, d)."""
        away = x - self.means[:, None]
        if self.factors.ndim == 3:
            white = torch.linalg.solve_triangular(self.factors, away.mT, upper=False)
            pull = torch.linalg.solve_triangular(self.factors.mT, white, upper=True).mT
            distance, log_scale = white.square().sum(1), self.factors.diagonal(dim1=1, dim2=2)
        else:
            pull = away / self.factors[:, None] ** 2
            distance, log_scale = (away * pull).sum(2), self.factors
        parts = (self.weights.log() - log_scale.log().sum(1))[:, None] - distance / 2
        shares = torch.softmax(parts, 0)[..., None]
        score: Tensor = -(shares * pull).sum(0)
        return score

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` points, shape (n, d)."""
        device = self.means.device
        u = torch.rand(n, generator=generator, device=device)
        which = torch.searchsorted(self.weights.cumsum(0), u).clamp_max(len(self.weights) - 1)
        normal = torch.randn(n, self.means.shape[1], generator=generator, device=device)
        if self.factors.ndim == 3:
            return self.means[which] + (self.factors[which] @ normal[..., None])[..., 0]
        return self.means[which] + self.factors[which] * normal


def cloud_blur(clouds: Sequence[Tensor]) -> float:
    """Return the standard deviation, per coordinate, by which clouds (n, d) are blurred.

    It is the spacing of the cells, the root mean square distance to the nearest neighbour over
    the root of 2 d, which joins neighbours and no more; in many dimensions, where the nearest
    neighbour is hardly nearer than all others, it is at most 0.15 of the spread of the cells
    about the mean of their cloud, so that the clouds keep their shape.
    """
    dim = clouds[0].shape[1]
    spacing = typical_spacing(tuple(clouds)) / math.sqrt(2 * dim)
    within = torch.cat([x - x.mean(0) for x in clouds]).square().mean().sqrt()
    return max(min(spacing, _MOST_BLUR * float(within)), 1e-3)


def fit_clouds(clouds: Snapshots, blur: float, random_state: int) -> list[CloudDensity]:
    """Fit a mixture to every cloud."""
    return [
        fit_cloud(x, w, blur=blur, random_state=random_state)
        for x, w in zip(clouds.x, clouds.weights, strict=True)
    ]


def fit_cloud(x: Tensor, weights: Tensor, *, blur: float, random_state: int) -> CloudDensity:
    """Fit a mixture to a weighted cloud blurred by noise of standard deviation ``blur``.

    Components and the form of their covariances are those of the smallest Bayesian information
    criterion, among 1 to 8 components, full (up to 20 coordinates) and diagonal.
    """
    rng = np.random.default_rng(random_state)
    share = weights.cpu().double().numpy()
    share = share / share.sum()
    cells = x.cpu().double().numpy()
    if len(cells) > _MOST_CELLS or np.ptp(share) > 1e-9:
        cells = cells[rng.choice(len(cells), size=min(len(cells), _MOST_CELLS), p=share)]
    best: tuple[float, GaussianMixture | None] = (math.inf, None)
    kinds = ("full", "diag") if x.shape[1] <= _MOST_FULL else ("diag",)
    for kind in kinds if len(cells) > 1 else ():
        previous = math.inf
        for n_components in _COMPONENTS:
            if n_components > max(1, len(cells) // 10):
                break
            mixture, value = _mixture(cells, n_components, kind, blur, random_state)
            best = min(best, (value, mixture), key=lambda pair: pair[0])
            if value > previous:
                break
            previous = value
    return _density(best[1], cells, float(weights.sum()), blur, x.device)


def _mixture(
    cells: np.ndarray, n_components: int, kind: str, blur: float, random_state: int
) -> tuple[GaussianMixture, float]:
    mixture = GaussianMixture(
        n_components,
        covariance_type=kind,
        reg_covar=max(1e-8, 0.1 * blur**2),
        random_state=random_state,
    )
    with warnings.catch_warnings():
        # repeated cells, or a fit that is good enough for a choice
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(cells)
        return mixture, float(mixture.bic(cells))


def _density(
    mixture: GaussianMixture | None,
    cells: np.ndarray,
    mass: float,
    blur: float,
    device: torch.device,
) -> CloudDensity:
    if mixture is None:
        shares, means = np.ones(1), cells[:1]
        factors = np.full_like(means, blur)
    else:
        shares, means = mixture.weights_, mixture.means_
        if mixture.covariance_type == "full":
            eye = np.eye(cells.shape[1])
            factors = np.linalg.cholesky(mixture.covariances_ + blur**2 * eye)
        else:
            factors = np.sqrt(mixture.covariances_ + blur**2)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    return CloudDensity(mass, tensor(shares), tensor(means), tensor(factors))
