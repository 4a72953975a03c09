"""Checks of clouds and masses that couplings share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_clouds"]


def check_clouds(x0: Tensor, x1: Tensor, a: Tensor, b: Tensor) -> None:
    """Raise ``ValueError`` on shapes that do not fit, and on values that are no numbers."""
    for name, x, mass_name, mass in (("x0", x0, "a", a), ("x1", x1, "b", b)):
        if x.ndim != 2 or x.shape[1] != x0.shape[1]:
            msg = (
                f"Found {name} of shape {tuple(x.shape)}, expected (cells, {x0.shape[-1]}) like x0."
            )
            raise ValueError(msg)
        if mass.shape != x.shape[:1]:
            msg = f"Found {mass_name} of shape {tuple(mass.shape)}, expected ({x.shape[0]},)."
            raise ValueError(msg)
        if not bool(torch.isfinite(x).all()):
            msg = f"Found NaN or infinite coordinates in {name}; remove or impute these cells."
            raise ValueError(msg)
        if not bool((torch.isfinite(mass) & (mass >= 0)).all()):
            msg = f"Found negative or non-finite masses in {mass_name}; masses must be at least 0."
            raise ValueError(msg)
