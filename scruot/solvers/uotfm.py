"""UOT-FM: straight lines between cells paired by unbalanced optimal transport.

The paper learns a velocity alone. The growth is scruot's addition.

References
----------
Eyring, Klein, Uscidda, Palla, Kilbertus, Akata, Theis (2024), "Unbalancedness in Neural Monge
Maps Improves Unpaired Domain Translation", ICLR 2024, arXiv:2311.15100 :cite:p:`eyring2024uotfm`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scruot.geometry import Bridge
from scruot.solvers.lengths import path_noise, scaled_noise
from scruot.solvers.pair_sampler import PairSampler
from scruot.solvers.params import param
from scruot.solvers.plans import (
    gap_of,
    price_of_mass,
    scaled_price,
    solver_of_couplings,
    squared_couplings,
)
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.regression import GrowthParams, build, kept_cells, regress
from scruot.transport import Penalty, pairs

_REFERENCE = (
    "Eyring et al. (2024), Unbalancedness in Neural Monge Maps Improves Unpaired Domain "
    "Translation, ICLR"
)
_BIBTEX = """@inproceedings{eyring2024uotfm,
  title = {Unbalancedness in Neural {Monge} Maps Improves Unpaired Domain Translation},
  author = {Eyring, Luca and Klein, Dominik and Uscidda, Th{\\'e}o and Palla, Giovanni and
            Kilbertus, Niki and Akata, Zeynep and Theis, Fabian J.},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2311.15100},
  archivePrefix = {arXiv}
}"""


@dataclass(frozen=True)
class UOTFMParams(GrowthParams):
    """Parameters of UOT-FM; lengths are in the units of the representation."""

    tau: float | str = price_of_mass("both marginals", "4 delta^2")
    growth: bool = param(
        True,
        "whether to learn growth, which the paper does not: pairs then count by their mass along "
        "the path, and not by their mass in the plan",
    )
    sigma: float | str = path_noise()
    coupling: str = solver_of_couplings()


def fit(problem: Problem) -> Fit:
    """Couple by unbalanced transport, and regress the velocity and the growth that it implies.

    A pair of the plan takes ``a_i P_ij / row_i`` of the source to ``b_j P_ij / col_j`` of the
    target, so its growth is ``log((row_i / a_i) (b_j / col_j)) / D``: both sides of the plan
    bear a half of the log ratio each, and one alone would give its root.
    """
    params: UOTFMParams = problem.params
    clouds, left_out = kept_cells(problem)
    sigma = scaled_noise(params.sigma, problem, clouds)
    tau = scaled_price(params.tau, problem, sides=2)
    plans = squared_couplings(
        clouds,
        source=Penalty("kl", tau),
        target=Penalty("kl", tau),
        method=params.coupling,
        random_state=problem.random_state,
    )
    tables = [pairs(plan) for plan in plans]
    learns: tuple[str, ...] = ("velocity", "growth")
    if not params.growth:
        learns = ("velocity",)
        # pairs as the plan has them, and neither deaths nor births
        tables = [
            replace(t, source=p.row, target=p.col, m0=p.mass, m1=p.mass)
            for t, p in zip(tables, plans, strict=True)
        ]
    sampler = PairSampler(clouds, tables, Bridge(), sigma, quantities=learns)
    trained = regress(problem, clouds, left_out, sampler)
    length = problem.scale.length
    resolved = {"tau": tau * length**2, "sigma": sigma * length}
    return Fit(trained.field, resolved, trained.history, gap_of(plans), learns=learns)


UOTFM = Solver(
    name="uotfm",
    summary="Unbalanced OT flow matching: straight lines between cells of an unbalanced plan, with "
    "growth added",
    learns=("velocity", "growth"),
    stochastic=False,
    params=UOTFMParams,
    fit=fit,
    build=build,
    reference=_REFERENCE,
    bibtex=_BIBTEX,
    coupled=True,
)
