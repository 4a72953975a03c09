"""Tools: fit, apply, simulate, evaluate; couple snapshots."""

from scruot.tl._apply_dynamics import apply_dynamics
from scruot.tl._cross_validate import cross_validate
from scruot.tl._evaluate import evaluate
from scruot.tl._fit_dynamics import fit_dynamics
from scruot.tl._project_velocity import project_velocity
from scruot.tl._simulate import simulate
from scruot.tl._transport import transport

__all__ = [
    "apply_dynamics",
    "cross_validate",
    "evaluate",
    "fit_dynamics",
    "project_velocity",
    "simulate",
    "transport",
]
