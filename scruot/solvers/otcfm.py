"""OT-CFM: the velocity regressed on straight lines between optimally paired cells.

References
----------
Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf, Bengio (2024), "Improving and
generalizing flow-based generative models with minibatch optimal transport", TMLR
:cite:p:`tong2024otcfm`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scruot.geometry import Bridge
from scruot.solvers.lengths import path_noise, scaled_noise
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.plans import EXACT, gap_of, solver_of_couplings, squared_couplings
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.regression import TrainingParams, build, kept_cells, regress
from scruot.transport import pairs

_REFERENCE = (
    "Tong et al. (2024), Improving and generalizing flow-based generative models with minibatch "
    "optimal transport, TMLR"
)
_BIBTEX = """@article{tong2024otcfm,
  title = {Improving and generalizing flow-based generative models with minibatch optimal
           transport},
  author = {Tong, Alexander and Fatras, Kilian and Malkin, Nikolay and Huguet, Guillaume and
            Zhang, Yanlei and Rector-Brooks, Jarrid and Wolf, Guy and Bengio, Yoshua},
  journal = {Transactions on Machine Learning Research},
  year = {2024},
  eprint = {2302.00482},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True)
class OTCFMParams(TrainingParams):
    """Parameters of OT-CFM; lengths are in the units of the representation."""

    sigma: float | str = path_noise()
    coupling: str = solver_of_couplings()


def fit(problem: Problem) -> Fit:
    """Couple consecutive snapshots by balanced transport, and regress the velocity."""
    params: OTCFMParams = problem.params
    clouds, left_out = kept_cells(problem)
    sigma = scaled_noise(params.sigma, problem, clouds)
    plans = squared_couplings(
        clouds,
        source=EXACT,
        target=EXACT,
        method=params.coupling,
        random_state=problem.random_state,
    )
    sampler = PairSampler(
        clouds, [pairs(plan) for plan in plans], Bridge(), sigma, quantities=("velocity",)
    )
    trained = regress(problem, clouds, left_out, sampler)
    resolved = {"sigma": sigma * problem.scale.length}
    return Fit(trained.field, resolved, trained.history, gap_of(plans))


OTCFM = Solver(
    name="otcfm",
    summary="OT conditional flow matching: displacement along straight lines of balanced optimal "
    "transport, no growth",
    learns=("velocity",),
    stochastic=False,
    params=OTCFMParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
    coupled=True,
)
