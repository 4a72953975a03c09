"""What several tools do with their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from scruot import solvers
from scruot.solvers.problem import Solver


def check_step(step: Any) -> None:
    """Refuse anything but ``None``, ``"adaptive"`` or a positive, finite number."""
    if step is None or (isinstance(step, str) and step == "adaptive"):
        return
    number = isinstance(step, (int, float, np.number)) and not isinstance(step, bool)
    if not number or not 0 < step < np.inf:
        msg = f"Found step={step!r}; expected a positive number, 'adaptive' or None."
        raise ValueError(msg)


def require_coupled(solver: Solver, found: str) -> None:
    """Refuse batches where nothing is coupled; ``found`` says how they were asked for."""
    if not solver.coupled:
        able = [name for name in solvers.names() if solvers.get(name).coupled]
        msg = (
            f"Found {found} with method {solver.name!r}, which compares whole snapshots and not "
            f"coupled cells; expected one of {able}."
        )
        raise ValueError(msg)
