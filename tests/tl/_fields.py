"""Models whose rates are given functions, stored as if they had been fitted."""

from scruot.dynamics.fields import Field
from scruot.dynamics.model import Dynamics
from scruot.io.read import read_cells
from scruot.io.store import model_record
from scruot.solvers.run import FittedModel
from scruot.solvers.wfrfm import WFRFMParams


def store_field(adata, monkeypatch, velocity, growth, *, sigma=0.0, mass="counts"):
    """Store a model with rates ``velocity(x)`` and ``growth(x)`` in the user's units.

    They act as drift where there is noise; the score is none.
    """
    call = {"time_key": "time", "use_rep": "X_pca", "n_dims": None, "mass": mass}
    cells = read_cells(adata, **call)
    snapshots = cells.snapshots()
    scale = snapshots.standardised()[1]
    dim = snapshots.dim
    model = Dynamics(
        Field(dim, {"velocity": dim, "growth": 1, "score": dim}, width=2, depth=1),
        scale,
        method="wfrfm",
        learns=("velocity", "growth"),
        times=snapshots.times,
        masses=snapshots.masses,
        sigma=sigma / scale.sigma_out(1.0),
    )
    fitted = FittedModel(model, {}, {}, {})
    adata.uns["dynamics"] = model_record(fitted, WFRFMParams(), call, cells, adata.obs_names)

    def completed(self, out, t, x, wanted):
        there = self.scale.x_out(x)
        moved = velocity(there) / self.scale.factor("velocity")
        grown = growth(there) / self.scale.factor("growth")
        return {**out, "velocity": moved, "drift": moved, "growth": grown}

    monkeypatch.setattr(Dynamics, "_completed", completed)
    return adata
