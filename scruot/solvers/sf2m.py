"""[SF]2M: a Schroedinger bridge from score and flow matching on Brownian bridges.

References
----------
Tong, Malkin, Fatras, Atanackovic, Zhang, Huguet, Wolf, Bengio (2024), "Simulation-free
Schroedinger bridges via score and flow matching", AISTATS 2024, arXiv:2307.03672
:cite:p:`tong2024sf2m`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scruot.geometry import Bridge
from scruot.solvers.diffusion import diffusion, regularisations, scaled_diffusion
from scruot.solvers.lengths import bridge_noise, scaled_smoothing
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.params import param
from scruot.solvers.plans import EXACT, gap_of, squared_couplings
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.regression import TrainingParams, kept_cells, regress
from scruot.solvers.score_field import build
from scruot.transport import pairs

_REFERENCE = (
    "Tong et al. (2024), Simulation-free Schroedinger bridges via score and flow matching, AISTATS"
)
_BIBTEX = """@inproceedings{tong2024sf2m,
  title = {Simulation-Free {Schr{\\"o}dinger} Bridges via Score and Flow Matching},
  author = {Tong, Alexander and Malkin, Nikolay and Fatras, Kilian and Atanackovic, Lazar and
            Zhang, Yanlei and Huguet, Guillaume and Wolf, Guy and Bengio, Yoshua},
  booktitle = {International Conference on Artificial Intelligence and Statistics},
  year = {2024},
  eprint = {2307.03672},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True)
class SF2MParams(TrainingParams):
    """Parameters of [SF]2M; lengths are in the units of the representation."""

    sigma: float | str = diffusion()
    smoothing: float | str = bridge_noise()
    steps: int = param(1200, "optimiser steps", low=1)
    learning_rate: float = param(0.05, "peak learning rate", above=0.0)


def fit(problem: Problem) -> Fit:
    """Couple by entropic transport, and regress velocity and score on Brownian bridges."""
    params: SF2MParams = problem.params
    clouds, left_out = kept_cells(problem)
    sigma = scaled_diffusion(params.sigma, problem)
    smoothing = scaled_smoothing(params.smoothing, problem, clouds, sigma)
    plans = squared_couplings(
        clouds,
        source=EXACT,
        target=EXACT,
        regs=regularisations(sigma, clouds),
        random_state=problem.random_state,
    )
    quantities = ("velocity", "score")
    sampler = PairSampler(
        clouds, [pairs(plan) for plan in plans], Bridge(sigma), smoothing, quantities=quantities
    )
    trained = regress(problem, clouds, left_out, sampler)
    resolved = {
        "sigma": problem.scale.sigma_out(sigma),
        "smoothing": smoothing * problem.scale.length,
    }
    return Fit(trained.field, resolved, trained.history, gap_of(plans), sigma=sigma)


SF2M = Solver(
    name="sf2m",
    summary="Schroedinger bridge: displacement and score on Brownian bridges of an entropic plan, "
    "no growth",
    learns=("velocity", "score"),
    stochastic=True,
    params=SF2MParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
    coupled=True,
)
