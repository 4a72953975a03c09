"""Current velocity of ``datasets.branching``: what a flow that explains the snapshots can show.

The velocity of the probability flow is the drift less half the squared noise times the score of
the population. Before the last step of a simulation with noise the score of what follows is known
without smoothing: it is a mixture of one Gaussian per particle. So a large population is simulated
and the score read from the mixture, for the three core coordinates. In the others drift and noise
cancel: their current velocity is zero.
"""

from itertools import pairwise

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from scruot.datasets._forks import N_CORE, START_STD, Forks

__all__ = ["cosine", "current_velocity"]

PARTICLES = 60_000  # at the first time; a second population gives the same up to a cosine of .996
REACH = 4.5  # standard deviations beyond which a particle is left out


def current_velocity(adata: AnnData, *, dt: float = 0.05, random_state: int = 0) -> np.ndarray:
    """Return the current velocity of every cell in ``X_sim``, shape (n, d)."""
    truth = adata.uns["truth"]
    given, sigma = truth["parameters"], truth["sigma"]
    law = Forks(
        tuple(given["growth_rates"]), given["bias"], given["turnover"], sigma, given["lean"]
    )
    core = np.asarray(adata.obsm["X_core"], dtype=np.float64)
    time = adata.obs["time"].to_numpy()
    times = np.unique(time)
    rng = np.random.default_rng(random_state)
    x = START_STD * rng.standard_normal((PARTICLES, N_CORE))
    score = np.where((time == times[0])[:, None], -core / START_STD**2, 0.0)
    for start, stop in pairwise(times):
        n_steps = int(np.ceil((stop - start) / dt - 1e-9))
        step = (stop - start) / n_steps
        for i in range(n_steps):
            if i + 1 == n_steps:
                here = time == stop
                score[here] = _score(x + step * law.drift(x), core[here], sigma * np.sqrt(step))
            x = law.reproduce(law.move(x, step, rng), step, rng)
    velocity = np.zeros((len(core), truth["rotation"].shape[0]))
    velocity[:, :N_CORE] = law.drift(core) - 0.5 * sigma**2 * score
    return velocity @ truth["rotation"].T


def _score(centres: np.ndarray, x: np.ndarray, scale: float) -> np.ndarray:
    """Return the score of a mixture of equal Gaussians."""
    near = cKDTree(centres).query_ball_point(x, REACH * scale)
    score = np.zeros_like(x)
    for i, index in enumerate(near):
        step = centres[index] - x[i]
        weight = np.exp(-(step**2).sum(1) / (2 * scale**2))
        score[i] = weight @ step / (weight.sum() * scale**2)
    return score


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean cosine of rows."""
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(1) / length.clip(1e-300)))
