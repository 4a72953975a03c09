"""Closed forms: the Wasserstein-Fisher-Rao geometry."""

from scruot.geometry.wfr import TravellingDirac, dirac_distance_squared, travelling_dirac

__all__ = ["TravellingDirac", "dirac_distance_squared", "travelling_dirac"]
