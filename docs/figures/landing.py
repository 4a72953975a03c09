"""Draw what scruot does: `python docs/figures/landing.py` writes `docs/_static/landing.png`."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import scruot as sr

TARGET = Path(__file__).parent.parent / "_static" / "landing.png"


def main() -> None:
    """Fit the branching simulation, and draw snapshots, velocity, growth and a fate."""
    adata = sr.datasets.branching(random_state=0)
    population = adata.uns["truth"]["population"]
    mass = dict(zip(population["time"], population["size"], strict=True))
    sr.tl.fit_dynamics(adata, "wfrfm", use_rep="X_sim", mass=mass, progress=False)
    sr.tl.fate_probabilities(adata, "cell_type")
    # the simulation's own two leading coordinates, turned back: a plane to look at
    turn = adata.uns["truth"]["rotation"]
    for name in ("X_sim", "velocity_sim"):
        adata.obsm[name.replace("sim", "core")] = (adata.obsm[name] @ turn)[:, :2]

    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10})
    figure, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
    x, time = adata.obsm["X_core"], adata.obs["time"].to_numpy()
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.95, 5))
    for t, color in zip(np.unique(time), colors, strict=True):
        axes[0].scatter(*x[time == t].T, s=4, color=color, linewidths=0, label=f"time {t:g}")
    axes[0].legend(frameon=False, markerscale=3, fontsize=7, handletextpad=0.1, loc="upper left")
    axes[0].set_title("cells, sampled at five times")
    sr.pl.velocity_stream(adata, basis="core", color="time", ax=axes[1], colorbar=False, show=False)
    axes[1].set_title("where they go")
    sr.pl.growth(adata, basis="core", ax=axes[2], show=False)
    axes[2].set_title("how they multiply")
    fate = adata.obsm["fate_probabilities"]["A"].to_numpy()
    drawn = axes[3].scatter(*x.T, c=fate, s=4, cmap="magma_r", vmin=0, vmax=1, linewidths=0)
    figure.colorbar(drawn, ax=axes[3], shrink=0.85, label="probability of fate A")
    axes[3].set_title("what they become")
    for ax in axes:
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        ax.spines[:].set_visible(False)
    figure.savefig(TARGET, dpi=96, metadata={"Software": None})


if __name__ == "__main__":
    main()
