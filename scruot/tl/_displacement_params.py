"""Parameters of ``tl.sparse_displacement``, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scruot._checks import check_seed, whole
from scruot._messages import unknown
from scruot.displacement.penalties import PENALTIES
from scruot.tl._displacement_maps import MapParams

# with the penalty that each takes by default
METHODS = {"local": "stvs", "elastic": "l1", "icnn": "smoothed_l0"}


def make_params(
    *,
    method: str,
    penalty: str | None,
    n_active: float | None,
    fdr: float,
    threshold: float,
    n_neighbors: int | None,
    strength: float | None,
    reg: float,
    tau: float,
    random_state: int,
) -> MapParams:
    """Return checked parameters.

    Raises
    ------
    ValueError
        For unknown words and numbers out of range.
    """
    if method not in METHODS:
        raise ValueError(unknown("method", str(method), METHODS))
    if penalty is not None and penalty not in PENALTIES:
        raise ValueError(unknown("penalty", str(penalty), PENALTIES))
    chosen = METHODS[method] if penalty is None else penalty
    if chosen == "k_support" and n_active is None:
        msg = "Found penalty='k_support' and n_active=None; expected n_active, its k."
        raise ValueError(msg)
    if chosen == "smoothed_l0" and method == "elastic":
        msg = (
            "Found penalty='smoothed_l0' with method='elastic'; expected 'l1', 'stvs' or "
            "'k_support': a smooth penalty shrinks displacements, and leaves none of them zero."
        )
        raise ValueError(msg)
    whole("n_neighbors", n_neighbors, optional=True)
    if n_active is not None:
        _positive("n_active", n_active)
    if strength is not None:
        if method == "local":
            msg = "Found strength with method='local'; expected threshold or n_active for it."
            raise ValueError(msg)
        if method == "icnn" and n_active is not None:
            msg = "Found strength and n_active with method='icnn'; expected one of the two."
            raise ValueError(msg)
        _positive("strength", strength)
    _positive("reg", reg)
    if not (isinstance(tau, float) and math.isinf(tau) and tau > 0):  # nothing left out
        _positive("tau", tau)
    _positive("threshold", threshold, zero=True)
    _positive("fdr", fdr)
    if fdr > 1:
        msg = f"Found fdr={fdr!r}; expected a rate above 0, at most 1 (which keeps all genes)."
        raise ValueError(msg)
    return MapParams(
        method=method,
        penalty=chosen,
        n_active=n_active,
        fdr=float(fdr),
        threshold=float(threshold),
        n_neighbors=n_neighbors,
        strength=strength,
        reg=float(reg),
        tau=float(tau),
        random_state=check_seed(random_state),
    )


def _positive(name: str, value: Any, *, zero: bool = False) -> None:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        kind = "at least 0" if zero else "positive"
        msg = f"Found {name}={value!r}; expected a finite number, {kind}."
        raise ValueError(msg)
