"""Draw what scruot does: `python docs/figures/landing.py` writes `docs/_static/landing.png`."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure

import scruot as sr
from scruot.pl._colors import GROWTH_MAP

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

    draw(adata).savefig(TARGET, dpi=110, metadata={"Software": None})


def draw(adata: AnnData) -> Figure:
    """Draw four panels of one size, their colours explained below them."""
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10})
    figure = plt.figure(figsize=(12, 3.3), layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=[1, 0.045])
    axes = [figure.add_subplot(grid[0, k]) for k in range(4)]
    bars = [figure.add_subplot(place) for place in (grid[1, :2], grid[1, 2], grid[1, 3])]
    x, time = adata.obsm["X_core"], adata.obs["time"].to_numpy()
    steps = mpl.colormaps["viridis"](np.linspace(0, 0.95, 5))
    axes[0].scatter(*x.T, s=4, color=steps[time.astype(int)], linewidths=0)
    axes[0].set_title("cells, sampled at five times")
    sr.pl.velocity_stream(adata, basis="core", color="time", ax=axes[1], colorbar=False, show=False)
    axes[1].set_title("where they go")
    limit = float(np.percentile(np.abs(adata.obs["growth"]), 99))
    sr.pl.growth(adata, basis="core", vmax=limit, ax=axes[2], colorbar=False, show=False)
    axes[2].set_title("how they multiply")
    fate = adata.obsm["fate_probabilities"]["A"].to_numpy()
    drawn = axes[3].scatter(*x.T, c=fate, s=4, cmap="viridis", vmin=0, vmax=1, linewidths=0)
    axes[3].set_title("what they become")
    for ax in axes:
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        ax.spines[:].set_visible(False)
    of_time = ScalarMappable(BoundaryNorm(np.arange(6) - 0.5, 5), ListedColormap(steps))
    of_growth = ScalarMappable(Normalize(-limit, limit), GROWTH_MAP)
    explained = [(of_time, "time"), (of_growth, "growth per unit of time"), (drawn, "fate A")]
    for bar, (mappable, label) in zip(bars, explained, strict=True):
        shown = figure.colorbar(mappable, cax=bar, orientation="horizontal", label=label)
        shown.outline.set_visible(False)
        bar.tick_params(length=2, labelsize=8)
    bars[0].set_xticks(range(5))
    bars[2].set_xlabel("probability of fate A")
    return figure


if __name__ == "__main__":
    main()
