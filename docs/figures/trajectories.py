"""Draw the picture of the page on trajectories: `python docs/figures/trajectories.py`."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import scruot as sr

STATIC = Path(__file__).parent.parent / "_static"


def main() -> None:
    """Draw trajectories, populations and a perturbation of the branching simulation."""
    adata = sr.datasets.branching(1500, 5, n_continue=0, random_state=0)
    truth = adata.uns["truth"]
    mass = dict(zip(truth["population"]["time"], truth["population"]["size"], strict=True))
    adata.obsm["X_forks"] = adata.obsm["X_core"][:, 1:] - 0.5 * adata.obsm["X_core"][:, :1]
    adata.uns["cell_type_colors"] = ["#999999", "#bbbbbb", "#0072B2", "#D55E00", "#009E73"]
    sr.tl.fit_dynamics(adata, "wfr", use_rep="X_forks", mass=mass, progress=False)
    sr.tl.fate_probabilities(adata, "cell_type")
    simulated = sr.tl.simulate(adata, times=np.linspace(0, 4, 41), groupby="cell_type")
    sr.tl.lineage_mass(adata, "cell_type")
    up = np.array([0.3, 0.0])
    sr.tl.perturbation(adata, {"first fork +0.3": up, "first fork -0.3": -up})
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    sr.pl.trajectories(adata, simulated, color="fate", ax=axes[0], show=False)
    sr.pl.lineage_mass(adata, ax=axes[1], show=False)
    sr.pl.perturbation(adata, ax=axes[2], show=False)
    figure.savefig(STATIC / "trajectories.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
