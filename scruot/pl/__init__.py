"""Pictures of fits: every function takes axes, returns axes and computes nothing new."""

from scruot.pl._fit_quality import fit_quality
from scruot.pl._growth import growth
from scruot.pl._loss import loss
from scruot.pl._mass import mass
from scruot.pl._trajectories import trajectories
from scruot.pl._velocity import velocity
from scruot.pl._velocity_stream import velocity_stream

__all__ = [
    "fit_quality",
    "growth",
    "loss",
    "mass",
    "trajectories",
    "velocity",
    "velocity_stream",
]
