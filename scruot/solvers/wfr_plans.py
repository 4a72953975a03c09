"""WFR couplings of all intervals, and what they say about the least action."""

from __future__ import annotations

from torch import Tensor

from scruot.dynamics.snapshots import Snapshots
from scruot.solvers.intervals import couple_interval
from scruot.solvers.problem import Problem
from scruot.transport import Coupling, static_floor, wfr_coupling


def wfr_couplings(
    clouds: Snapshots,
    delta: float,
    *,
    blur: float = 0.0,
    method: str = "auto",
    random_state: int = 0,
) -> list[Coupling]:
    """Return the WFR coupling of every pair of consecutive snapshots."""

    def solve(x0: Tensor, x1: Tensor, a: Tensor, b: Tensor) -> Coupling:
        return wfr_coupling(
            x0, x1, a, b, delta, blur=blur, method=method, random_state=random_state
        )

    return [couple_interval(clouds, k, solve) for k in range(len(clouds.durations))]


def floor_of_action(
    plans: list[Coupling], clouds: Snapshots, delta: float, problem: Problem
) -> dict[str, float]:
    """Return the static floor of the action, per unit of initial mass, in the user's units."""
    unit = problem.scale.length**2 / problem.scale.time
    dual, primal = static_floor(plans, delta=delta, durations=clouds.durations)
    return {
        "action_floor_dual": unit * dual,
        "action_floor_primal": unit * primal,
        "coupling_gap": max(plan.gap for plan in plans),
    }
