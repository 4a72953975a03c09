"""Pictures of fits and transports: they take axes, return axes and compute nothing new."""

from scruot.pl._diagnose import diagnose
from scruot.pl._displacement import displacement
from scruot.pl._displacement_genes import displacement_genes
from scruot.pl._driver_genes import driver_genes
from scruot.pl._fate_bars import fate_bars
from scruot.pl._fate_calibration import fate_calibration
from scruot.pl._fate_map import fate_map
from scruot.pl._fate_probabilities import fate_probabilities
from scruot.pl._fit_quality import fit_quality
from scruot.pl._gene_trends import gene_trends
from scruot.pl._growth import growth
from scruot.pl._landscape import landscape
from scruot.pl._lineage import ancestors, descendants
from scruot.pl._lineage_mass import lineage_mass
from scruot.pl._loss import loss
from scruot.pl._mass import mass
from scruot.pl._perturbation import perturbation
from scruot.pl._potential import potential
from scruot.pl._regulatory_jacobian import regulatory_jacobian
from scruot.pl._sparsity_path import sparsity_path
from scruot.pl._trajectories import trajectories
from scruot.pl._transition_table import transition_table
from scruot.pl._transport import transport
from scruot.pl._velocity import velocity
from scruot.pl._velocity_stream import velocity_stream

__all__ = [
    "ancestors",
    "descendants",
    "diagnose",
    "displacement",
    "displacement_genes",
    "driver_genes",
    "fate_bars",
    "fate_calibration",
    "fate_map",
    "fate_probabilities",
    "fit_quality",
    "gene_trends",
    "growth",
    "landscape",
    "lineage_mass",
    "loss",
    "mass",
    "perturbation",
    "potential",
    "regulatory_jacobian",
    "sparsity_path",
    "trajectories",
    "transition_table",
    "transport",
    "velocity",
    "velocity_stream",
]
