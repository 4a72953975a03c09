"""The torch core: snapshots in, a dynamical system out."""

from scruot.dynamics.model import Dynamics
from scruot.dynamics.simulate import Trajectories
from scruot.dynamics.snapshots import Scale, Snapshots

__all__ = ["Dynamics", "Scale", "Snapshots", "Trajectories"]
