"""Conditional regularised unbalanced flow matching: a Schroedinger bridge with growth.

References
----------
Zhang, Wang, Sun, Li, Zhou (2025), "Modeling Cell Dynamics and Interactions with Unbalanced Mean
Field Schroedinger Bridge", NeurIPS 2025, arXiv:2505.11197 :cite:p:`zhang2025cytobridge`; the method
is that of its toolkit CytoBridge under the name "crufm".
"""

from __future__ import annotations

from dataclasses import dataclass

from scruot.geometry import Bridge
from scruot.solvers.diffusion import diffusion, regularisations, scaled_diffusion
from scruot.solvers.lengths import bridge_noise, scaled_smoothing
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.params import param
from scruot.solvers.plans import gap_of, price_of_mass, scaled_price, squared_couplings
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.regression import GrowthParams, kept_cells, regress
from scruot.solvers.score_field import build
from scruot.transport import Penalty, pairs

_REFERENCE = (
    "Zhang et al. (2025), Modeling Cell Dynamics and Interactions with Unbalanced Mean Field "
    "Schroedinger Bridge, NeurIPS"
)
_BIBTEX = """@inproceedings{zhang2025cytobridge,
  title = {Modeling Cell Dynamics and Interactions with Unbalanced Mean Field {Schr{\\"o}dinger}
           Bridge},
  author = {Zhang, Zhenyi and Wang, Zihan and Sun, Yuhao and Li, Tiejun and Zhou, Peijie},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2025},
  eprint = {2505.11197},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True)
class CRUFMParams(GrowthParams):
    """Parameters of crufm; lengths are in the units of the representation."""

    sigma: float | str = diffusion()
    tau: float | str = price_of_mass("both marginals", "4 delta^2")
    smoothing: float | str = bridge_noise()
    steps: int = param(1200, "optimiser steps", low=1)
    learning_rate: float = param(0.05, "peak learning rate", above=0.0)


def fit(problem: Problem) -> Fit:
    """Couple by entropic unbalanced transport; regress velocity, growth and score."""
    params: CRUFMParams = problem.params
    clouds, left_out = kept_cells(problem)
    sigma = scaled_diffusion(params.sigma, problem)
    smoothing = scaled_smoothing(params.smoothing, problem, clouds, sigma)
    tau = scaled_price(params.tau, problem, sides=2)
    plans = squared_couplings(
        clouds,
        source=Penalty("kl", tau),
        target=Penalty("kl", tau),
        regs=regularisations(sigma, clouds),
        random_state=problem.random_state,
    )
    quantities = ("velocity", "growth", "score")
    sampler = PairSampler(
        clouds, [pairs(plan) for plan in plans], Bridge(sigma), smoothing, quantities=quantities
    )
    trained = regress(problem, clouds, left_out, sampler)
    length = problem.scale.length
    resolved = {
        "sigma": problem.scale.sigma_out(sigma),
        "tau": tau * length**2,
        "smoothing": smoothing * length,
    }
    return Fit(trained.field, resolved, trained.history, gap_of(plans), sigma=sigma)


CRUFM = Solver(
    name="crufm",
    summary="Unbalanced Schroedinger bridge: displacement, growth and score on Brownian bridges of "
    "an unbalanced entropic plan",
    learns=("velocity", "growth", "score"),
    stochastic=True,
    params=CRUFMParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
    coupled=True,
)
