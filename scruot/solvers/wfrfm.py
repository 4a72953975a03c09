"""WFR flow matching: velocity and growth regressed on travelling Diracs.

References
----------
Peng, Wang, Ying, Sun, Nie, Zhang, Li, Zhou (2026), "WFR-FM: Simulation-Free Dynamic
Unbalanced Optimal Transport", ICLR 2026, arXiv:2601.06810 :cite:p:`peng2026wfrfm`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scruot.geometry import Geodesic
from scruot.solvers.lengths import growth_length, path_noise, scaled_delta, scaled_noise
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.params import param
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.regression import GrowthParams, build, kept_cells, regress
from scruot.solvers.wfr_plans import floor_of_action, wfr_couplings
from scruot.transport import pairs

_REFERENCE = (
    "Peng et al. (2026), WFR-FM: Simulation-Free Dynamic Unbalanced Optimal Transport, ICLR"
)
_BIBTEX = """@inproceedings{peng2026wfrfm,
  title = {{WFR-FM}: Simulation-Free Dynamic Unbalanced Optimal Transport},
  author = {Peng, Qiangwei and Wang, Zihan and Ying, Junda and Sun, Yuhao and Nie, Qing and
            Zhang, Lei and Li, Tiejun and Zhou, Peijie},
  booktitle = {International Conference on Learning Representations},
  year = {2026},
  eprint = {2601.06810},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True)
class WFRFMParams(GrowthParams):
    """Parameters of WFR-FM; lengths are in the units of the representation."""

    delta: float | str = growth_length()
    blur: float = param(
        0.0, "entropic blur of the couplings, relative to a typical best cost; 0 is exact", low=0.0
    )
    coupling: str = param(
        "auto",
        "solver of the couplings",
        choices=("auto", "exact", "hierarchical"),
    )
    sigma: float | str = path_noise()


def fit(problem: Problem) -> Fit:
    """Fit WFR-FM: couple consecutive snapshots, then regress both fields on the paths."""
    params: WFRFMParams = problem.params
    clouds, left_out = kept_cells(problem)
    delta = scaled_delta(params.delta, problem)
    sigma = scaled_noise(params.sigma, problem, clouds)
    plans = wfr_couplings(
        clouds, delta, blur=params.blur, method=params.coupling, random_state=problem.random_state
    )
    tables = [pairs(plan) for plan in plans]
    sampler = PairSampler(clouds, tables, Geodesic(delta), sigma)
    trained = regress(problem, clouds, left_out, sampler)
    length = problem.scale.length
    return Fit(
        trained.field,
        {"delta": delta * length, "sigma": sigma * length},
        trained.history,
        floor_of_action(plans, clouds, delta, problem),
    )


WFRFM = Solver(
    name="wfrfm",
    summary="WFR flow matching: displacement and growth regressed on unbalanced geodesics",
    learns=("velocity", "growth"),
    stochastic=False,
    params=WFRFMParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
    coupled=True,
)
