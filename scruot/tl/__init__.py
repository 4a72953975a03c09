"""Tools: fit, apply, simulate, evaluate; couple snapshots, trace lineages."""

from scruot.tl._apply_dynamics import apply_dynamics
from scruot.tl._calibrate_transport import calibrate_transport
from scruot.tl._cross_validate import cross_validate
from scruot.tl._descent import ancestors, descendants
from scruot.tl._diagnose import diagnose
from scruot.tl._driver_genes import driver_genes
from scruot.tl._evaluate import evaluate
from scruot.tl._fate_calibration import fate_calibration
from scruot.tl._fate_probabilities import fate_probabilities
from scruot.tl._fate_shift import fate_shift
from scruot.tl._fit_dynamics import fit_dynamics
from scruot.tl._gene_trends import gene_trends
from scruot.tl._gene_velocity import gene_velocity
from scruot.tl._growth_genes import growth_genes
from scruot.tl._import_couplings import import_couplings
from scruot.tl._landscape import landscape
from scruot.tl._lineage_mass import lineage_mass
from scruot.tl._perturbation import perturbation
from scruot.tl._project_velocity import project_velocity
from scruot.tl._pseudotime import pseudotime_from_dynamics
from scruot.tl._regulatory_jacobian import regulatory_jacobian
from scruot.tl._simulate import simulate
from scruot.tl._sparse_displacement import sparse_displacement
from scruot.tl._sparsity_path import sparsity_path
from scruot.tl._terminal_states import terminal_states
from scruot.tl._to_cellrank import to_cellrank
from scruot.tl._transitions import ancestor_census, transition_table
from scruot.tl._transport import transport

__all__ = [
    "ancestor_census",
    "ancestors",
    "apply_dynamics",
    "calibrate_transport",
    "cross_validate",
    "descendants",
    "diagnose",
    "driver_genes",
    "evaluate",
    "fate_calibration",
    "fate_probabilities",
    "fate_shift",
    "fit_dynamics",
    "gene_trends",
    "gene_velocity",
    "growth_genes",
    "import_couplings",
    "landscape",
    "lineage_mass",
    "perturbation",
    "project_velocity",
    "pseudotime_from_dynamics",
    "regulatory_jacobian",
    "simulate",
    "sparse_displacement",
    "sparsity_path",
    "terminal_states",
    "to_cellrank",
    "transition_table",
    "transport",
]
