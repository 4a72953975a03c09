"""Static couplings between weighted clouds."""

from scruot.transport.batches import couple_within
from scruot.transport.calibrate import (
    auto_reg,
    auto_tau,
    tau_for_group,
    tau_for_moved,
    tau_for_spread,
)
from scruot.transport.chain import Chain
from scruot.transport.cost import wfr_cost
from scruot.transport.couple import couple
from scruot.transport.coupling import Coupling
from scruot.transport.delta import auto_delta, static_floor
from scruot.transport.entropic import EntropicPlan, entropic_plan
from scruot.transport.influence import outlier_influence
from scruot.transport.interpolation import interpolate, wfr_interpolation
from scruot.transport.pairs import PairTable, pairs
from scruot.transport.penalties import Penalty
from scruot.transport.settings import AutoSettings, auto_settings
from scruot.transport.solve import wfr_coupling

__all__ = [
    "AutoSettings",
    "Chain",
    "Coupling",
    "EntropicPlan",
    "PairTable",
    "Penalty",
    "auto_delta",
    "auto_reg",
    "auto_settings",
    "auto_tau",
    "couple",
    "couple_within",
    "entropic_plan",
    "interpolate",
    "outlier_influence",
    "pairs",
    "static_floor",
    "tau_for_group",
    "tau_for_moved",
    "tau_for_spread",
    "wfr_cost",
    "wfr_coupling",
    "wfr_interpolation",
]
