"""Couplings of all intervals under squared distances, balanced or with a price of mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from scruot.dynamics.snapshots import Snapshots
from scruot.solvers.intervals import couple_interval
from scruot.solvers.params import param
from scruot.solvers.problem import Problem
from scruot.transport import Coupling, Penalty, auto_delta, couple

EXACT = Penalty("exact")


def price_of_mass(sides: str, rule: str) -> Any:
    """Declare the price of a unit of mass that the plan leaves out or adds."""
    return param(
        "auto",
        f"price of mass against squared distance in the Kullback-Leibler penalty of {sides}, in "
        f"squared units of the representation: larger moves more and grows less; 'auto' is {rule} "
        "with delta as in 'wfrfm', so that growth costs the same there and here",
        above=0.0,
        choices=("auto",),
    )


def solver_of_couplings() -> Any:
    """Declare how couplings are computed."""
    return param("auto", "solver of the couplings", choices=("auto", "exact", "hierarchical"))


def scaled_price(tau: float | str, problem: Problem, *, sides: int) -> float:
    r"""Return the price of mass in scaled units.

    The cost of WFR is :math:`-2 \log\cos(d / 2\delta) \approx d^2 / (4 \delta^2)` beside two
    penalties of weight one, so both penalties under the cost :math:`d^2` weigh
    :math:`4 \delta^2`. One penalty alone bears the whole of a ratio of masses, of which two bear
    half each and a quarter of the price each: it weighs :math:`2 \delta^2`.

    Parameters
    ----------
    tau
        The user's price, or ``"auto"``.
    problem
        The fit.
    sides
        Number of marginals with the penalty, 1 or 2.
    """
    if isinstance(tau, str):
        return 2 * sides * auto_delta(problem.snapshots.x) ** 2
    return tau / problem.scale.length**2


def squared_couplings(
    clouds: Snapshots,
    *,
    source: Penalty,
    target: Penalty,
    regs: Sequence[float] | None = None,
    method: str = "auto",
    random_state: int = 0,
) -> list[Coupling]:
    """Return the coupling of every pair of consecutive snapshots.

    Parameters
    ----------
    clouds
        The clouds; where both marginals are exact every population is taken for one.
    source, target
        Penalties of the marginals; prices in squared units of ``clouds``.
    regs
        Entropic regularisation of every interval; none by default.
    method, random_state
        As in :func:`scruot.transport.couple`.
    """
    if source.exact and target.exact:
        clouds = replace(clouds, weights=tuple(w / w.sum() for w in clouds.weights))
    plans = []
    for k, reg in enumerate(regs or [0.0] * len(clouds.durations)):

        def solve(x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, reg: float = reg) -> Coupling:
            return couple(
                x0,
                x1,
                a,
                b,
                source=source,
                target=target,
                reg=reg,
                method=method,
                random_state=random_state,
            )

        plans.append(couple_interval(clouds, k, solve))
    return plans


def gap_of(plans: list[Coupling]) -> dict[str, float]:
    """Return the largest relative duality gap, a figure of the fit."""
    return {"coupling_gap": max(plan.gap for plan in plans)}
