"""Fates: where the descendants of cells end, through plans or simulated dynamics."""

from scruot.fates.absorb import Absorbed, absorb, shares
from scruot.fates.carry import flow_plan, simulated_fates
from scruot.fates.classify import StateClassifier
from scruot.fates.growth import Wrapper
from scruot.fates.metric import fate_settings, for_times
from scruot.fates.plan import FatePlan, automatic_plan

__all__ = [
    "Absorbed",
    "FatePlan",
    "StateClassifier",
    "Wrapper",
    "absorb",
    "automatic_plan",
    "fate_settings",
    "flow_plan",
    "for_times",
    "shares",
    "simulated_fates",
]
