"""Fates: where the descendants of cells end, through plans or simulated dynamics."""

from scruot.fates.absorb import Absorbed, absorb, shares
from scruot.fates.carry import flow_plan, simulated_fates
from scruot.fates.classify import StateClassifier
from scruot.fates.plan import FatePlan, automatic_plan, couple_in_metric

__all__ = [
    "Absorbed",
    "FatePlan",
    "StateClassifier",
    "absorb",
    "automatic_plan",
    "couple_in_metric",
    "flow_plan",
    "shares",
    "simulated_fates",
]
