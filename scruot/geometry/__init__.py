"""Closed forms: the Wasserstein-Fisher-Rao geometry, and the paths of flow matching."""

from scruot.geometry.paths import Bridge, Geodesic, Path, PathPoint
from scruot.geometry.wfr import TravellingDirac, dirac_distance_squared, travelling_dirac

__all__ = [
    "Bridge",
    "Geodesic",
    "Path",
    "PathPoint",
    "TravellingDirac",
    "dirac_distance_squared",
    "travelling_dirac",
]
