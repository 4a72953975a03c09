"""What several tools do with their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_step(step: Any) -> None:
    """Refuse anything but ``None``, ``"adaptive"`` or a positive, finite number."""
    if step is None or (isinstance(step, str) and step == "adaptive"):
        return
    number = isinstance(step, (int, float, np.number)) and not isinstance(step, bool)
    if not number or not 0 < step < np.inf:
        msg = f"Found step={step!r}; expected a positive number, 'adaptive' or None."
        raise ValueError(msg)
