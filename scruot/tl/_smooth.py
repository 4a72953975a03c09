"""Smooth curves through weighted cells, with errors that hold for any noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import SplineTransformer

Array = NDArray[np.float64]

_ALPHAS = np.logspace(-4, 6, 31)
# makes the straight part of a curve so large that its penalty does not count
_FREE = 1e4


@dataclass(frozen=True, eq=False)
class Curves:
    """Smooth means of several targets.

    Parameters
    ----------
    mean, se
        Means and standard errors at the asked times, shape (points, targets).
    n_effective
        Number of equally weighted cells worth as much.
    """

    mean: Array
    se: Array
    n_effective: float


def smooth(time: Array, y: Array, weight: Array, at: Array, *, n_knots: int) -> Curves:
    r"""Fit cubic P-splines with a penalty for each target, chosen by leaving cells out.

    Coefficients of B-splines with knots at quantiles are penalised by their second differences
    (over the distances of the Greville abscissae), so that much smoothing leaves a straight line;
    the weight of the penalty has the least error of generalised cross-validation. Variances are
    those of the sandwich with the penalty in its filling,
    :math:`A^{-1} (Z^\top W \mathrm{diag}(r^2) W Z + s^2 \alpha P) A^{-1}`, with the residuals
    :math:`r`, their mean square :math:`s^2` and the matrix :math:`A` of the penalised fit: no
    constant variance is needed, and what the penalty bends counts as error.

    Parameters
    ----------
    time
        Shape (n,).
    y
        Targets (n, g).
    weight
        Weights of the cells (n,), positive.
    at
        Times at which the curves are asked for.
    n_knots
        Knots of the splines.

    References
    ----------
    Eilers and Marx (1996), Statistical Science 11, 89-121 :cite:p:`eilers1996`. White (1980),
    Econometrica 48, 817 :cite:p:`white1980`. Nychka (1988), JASA 83, 1134-1143
    :cite:p:`nychka1988`.
    """
    w = weight / weight.mean()
    # over a few days many quantiles are the same
    knots = np.unique(np.quantile(time, np.linspace(0, 1, n_knots)))[:, None]
    splines = SplineTransformer(degree=3, knots=knots, extrapolation="constant")
    basis = splines.fit_transform(time[:, None])
    turn, penalty = _turned(_greville(splines))
    z, z_at = basis @ turn, splines.transform(at[:, None]) @ turn
    ridge = RidgeCV(_ALPHAS, fit_intercept=False, alpha_per_target=True)
    ridge.fit(z, y, sample_weight=w)
    alphas = np.broadcast_to(ridge.alpha_, (y.shape[1],))
    mean, se = np.empty((2, len(at), y.shape[1]))
    gram = (z * w[:, None]).T @ z
    n_effective = float(w.sum() ** 2 / np.square(w).sum())
    for g, alpha in enumerate(alphas):
        inverse = np.linalg.pinv(gram + alpha * np.diag(penalty), hermitian=True)
        beta = inverse @ (z.T @ (w * y[:, g]))
        residual = y[:, g] - z @ beta
        scatter = (z * (w * residual)[:, None] ** 2).T @ z
        # what the penalty may have bent, in the Bayesian reading of smoothing (Nychka 1988)
        noise = float(np.sum(np.square(w * residual)) / w.sum())
        scatter += alpha * noise * np.diag(penalty)
        mean[:, g] = z_at @ beta
        variance = np.einsum("pi,ij,pj->p", z_at, inverse @ scatter @ inverse, z_at)
        freedom = float(np.trace(inverse @ gram))
        # residuals are smaller than errors by what the curve has taken up
        grow = n_effective / max(n_effective - freedom, 1.0)
        se[:, g] = np.sqrt(np.maximum(variance, 0) * grow)
    return Curves(mean, se, n_effective)


def _greville(splines: SplineTransformer) -> Array:
    """Return where the coefficients stand: a straight line has its own values there."""
    knots = np.asarray(splines.bsplines_[0].t, dtype=np.float64)
    return np.convolve(knots[1:-1], np.ones(3) / 3, mode="valid")


def _turned(place: Array) -> tuple[Array, Array]:
    """Return coordinates of the coefficients in which the penalty is that of a plain ridge."""
    step = np.diff(place) / np.diff(place).mean()
    p = len(place)
    second = np.diff(np.diff(np.eye(p), axis=0) / step[:, None], axis=0)
    line = (place - place.mean()) / np.ptp(place)
    turn = np.column_stack([np.full(p, _FREE), _FREE * line, np.linalg.pinv(second)])
    penalty = np.ones(p)
    penalty[:2] = 0
    return turn, penalty
