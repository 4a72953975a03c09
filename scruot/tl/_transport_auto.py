"""Scale-free rules for the parameters of penalised transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scruot.dynamics.snapshots import Snapshots
from scruot.tl._transport_params import TransportParams
from scruot.transport import AutoSettings, Penalty, auto_reg, auto_tau

BLUR = 0.05  # entropic regularisation over an interval of median length, in units of the cost


@dataclass(frozen=True)
class Settings:
    """What the solver gets.

    Parameters
    ----------
    source, target
        Penalties of both marginals.
    regs
        Entropic regularisation of each interval.
    cost_scale
        Squared length that costs one.
    """

    source: Penalty
    target: Penalty
    regs: tuple[float, ...]
    cost_scale: float

    def described(self) -> dict[str, Any]:
        """Return what was used, for the record and the log."""
        found: dict[str, Any] = {"cost_scale": self.cost_scale}
        for name, side in (("tau_source", self.source), ("tau_target", self.target)):
            if not side.exact:
                found[name] = side.tau
        return {**found, "reg": list(self.regs)}


def resolve(snapshots: Snapshots, params: TransportParams) -> Settings:
    """Return the penalties and regularisations that parameters ask for."""
    scale = cost_scale(snapshots)
    durations = np.asarray(snapshots.durations)
    if params.method == "partial" and params.reg == "auto":
        regs = np.zeros_like(durations)
    elif params.reg == "auto":
        regs = BLUR * durations / np.median(durations)
    else:
        regs = np.full_like(durations, float(params.reg))
    automatic = auto_price(snapshots) / scale if params.tau == "auto" else np.nan
    source, target = _sides(params, automatic)
    return Settings(source, target, tuple(float(r) for r in regs), scale)


def cost_scale(snapshots: Snapshots) -> float:
    """Return the mean squared distance of cells of consecutive snapshots, mean over intervals."""
    x, w = snapshots.x, snapshots.weights
    squares = [
        auto_reg(x[k], x[k + 1], w[k], w[k + 1], share=1.0) for k in range(len(snapshots.times) - 1)
    ]
    return float(np.mean(squares))


def auto_price(snapshots: Snapshots) -> float:
    """Return the price of mass in squared units: ``4 delta^2`` with the automatic ``delta``.

    At short distances the WFR cost is the squared distance over that, and mass costs one.
    """
    return auto_tau(snapshots.x)


def _sides(params: TransportParams, automatic: float) -> tuple[Penalty, Penalty]:
    exact = Penalty("exact")
    if params.method in ("balanced", "partial"):
        return exact, exact
    kind: Any = params.penalty
    if isinstance(params.tau, str):  # the other side stays as it was observed
        soft = Penalty(kind, automatic)
        return (exact, soft) if params.relaxed == "target" else (soft, exact)
    taus = params.tau if isinstance(params.tau, (list, tuple)) else (params.tau, params.tau)
    first, second = (Penalty(kind, float(tau)) for tau in taus)
    if params.method == "semi_relaxed":
        return (first, exact) if params.relaxed == "source" else (exact, second)
    return first, second


def described_settings(settings: AutoSettings | None) -> dict[str, Any]:
    """Return what the rule for fates found, for the record."""
    if settings is None:
        return {}
    return {
        "reg": [float(r) for r in settings.reg],
        "tau_source": [float(t) for t in settings.tau],
        "n_dims": int(settings.metric.shape[1]),
        "spread_over_near": float(settings.spread_over_near),
    }
