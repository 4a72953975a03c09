"""The closed-form field of WFR flow matching: no network, no training, no randomness.

A regression on finitely many weighted paths has an exact minimiser, a weighted average over the
paths (:mod:`scruot.solvers.kernel_field`). WFR flow matching trains a network towards it; this
method takes it as it is. No publication offers it; the regression is that of WFR-FM.

References
----------
Peng, Wang, Ying, Sun, Nie, Zhang, Li, Zhou (2026), "WFR-FM: Simulation-Free Dynamic
Unbalanced Optimal Transport", ICLR 2026, arXiv:2601.06810 :cite:p:`peng2026wfrfm`.
Nadaraya (1964), "On Estimating Regression", Theory of Probability and its Applications 9
:cite:p:`nadaraya1964`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scruot.dynamics.snapshots import Snapshots
from scruot.solvers import wfrfm
from scruot.solvers.bandwidth import best_factor, spacings
from scruot.solvers.kernel_field import KernelField
from scruot.solvers.lengths import growth_length, scaled_delta
from scruot.solvers.pair_table import JoinedPairs
from scruot.solvers.params import param
from scruot.solvers.populations import match_populations
from scruot.solvers.problem import Fit, Problem, Solver
from scruot.solvers.wfr_plans import floor_of_action, wfr_couplings
from scruot.transport import Coupling, pairs

# the default step of simulations, in mean intervals: the field is too rough for a coarser one
_STEP = 0.04


@dataclass(frozen=True)
class WFRParams:
    """Parameters of the closed-form field; lengths are in the units of the representation."""

    delta: float | str = growth_length()
    bandwidth: float | str = param(
        "auto",
        "standard deviation, per coordinate, of the Gaussian kernel; 'auto' takes, of seven "
        "multiples of the median distance to the nearest neighbour, the one that meets unseen "
        "cells best",
        above=0.0,
        choices=("auto",),
    )
    coupling: str = param(
        "auto", "solver of the couplings", choices=("auto", "exact", "hierarchical")
    )
    match_mass: bool = param(
        True,
        "add to the growth of every interval the constant with which the simulated population "
        "ends as observed",
    )


def fit(problem: Problem) -> Fit:
    """Couple consecutive snapshots, choose the width of the kernel, and keep the pairs."""
    params: WFRParams = problem.params
    clouds = problem.snapshots
    delta = scaled_delta(params.delta, problem)

    def couple(cells: Snapshots) -> list[Coupling]:
        # a fixed seed: the method has no randomness to choose
        return wfr_couplings(cells, delta, method=params.coupling, random_state=0)

    def fields(cells: Snapshots) -> Callable[[float], KernelField]:
        joined, unit = _joined(cells, couple(cells)), spacings(cells)
        # populations need not match: distances are between distributions
        return lambda factor: KernelField.of_pairs(joined, cells, delta, [factor * u for u in unit])

    plans = couple(clouds)
    if isinstance(params.bandwidth, str):
        factor = best_factor(clouds, fields)
        bandwidth = [factor * unit for unit in spacings(clouds)]
    else:
        bandwidth = [params.bandwidth / problem.scale.length] * len(plans)
    field = KernelField.of_pairs(_joined(clouds, plans), clouds, delta, bandwidth)
    if params.match_mass:
        match_populations(field, clouds, step=_STEP)
    length = problem.scale.length
    mean = sum(bandwidth) / len(bandwidth)
    quality = floor_of_action(plans, clouds, delta, problem)
    return Fit(field, {"delta": delta * length, "bandwidth": mean * length}, quality=quality)


def _joined(clouds: Snapshots, plans: list[Coupling]) -> JoinedPairs:
    return JoinedPairs(clouds, [pairs(plan) for plan in plans])


def build(config: Mapping[str, Any]) -> KernelField:
    """Return a field without cells from its configuration."""
    return KernelField(**config)


WFR = Solver(
    name="wfr",
    summary="WFR flow matching in closed form: kernel averages over unbalanced geodesics, no "
    "training",
    learns=("velocity", "growth"),
    stochastic=False,
    params=WFRParams,
    fit=fit,
    build=build,
    reference=wfrfm.WFRFM.reference,
    bibtex=wfrfm.WFRFM.bibtex,
    trained=False,
    seeded=False,
    coupled=True,
)
