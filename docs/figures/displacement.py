"""Draw the pictures of the page on displacement: `python docs/figures/displacement.py`.

The markers of the blastocyst need `SCRUOT_DATA_DIR`; without it they are left as they are.
"""

import os
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from anndata import AnnData
from matplotlib.collections import LineCollection

import scruot as sr

OUT = Path(__file__).parent.parent / "_static"
STRENGTHS = (0.05, 1.0, 4.0)
PATH = (0.1, 0.6, 1.0, 2.0, 4.0, 8.0, 16.0)


def eight_gaussians(n: int = 240) -> AnnData:
    """Return one Gaussian in the middle, and eight around it."""
    rng = np.random.default_rng(0)
    middle = 0.5 * rng.normal(size=(n, 2))
    angle = rng.integers(0, 8, n) * np.pi / 4
    around = 4.0 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.35 * rng.normal(size=(n, 2))
    adata = AnnData(np.concatenate([middle, around]).astype(np.float32))
    adata.obs["state"] = np.repeat(["source", "target"], n)
    return adata


def draw_gaussians() -> None:
    """Draw maps at three strengths, and the path."""
    adata = eight_gaussians()
    call = {"source": "source", "target": "target", "time_key": "state", "use_rep": "X"}
    how = {"method": "elastic", "penalty": "stvs", "reg": 0.02, "tau": np.inf}
    figure, axes = plt.subplots(1, 4, figsize=(9.4, 2.5), layout="constrained")
    first = (adata.obs["state"] == "source").to_numpy()
    for ax, strength in zip(axes, STRENGTHS, strict=False):
        sr.tl.sparse_displacement(adata, **call, **how, strength=strength)
        moved = adata.obsm["displacement"].toarray()[first]
        x = adata.X[first]
        ax.scatter(*adata.X[~first].T, s=4, c="0.75", linewidths=0)
        ax.scatter(*x.T, s=4, c="#0072B2", linewidths=0)
        ax.scatter(*(x + moved).T, s=4, c="#D55E00", linewidths=0)
        ax.add_collection(
            LineCollection(np.stack([x, x + moved], 1), colors="0.5", linewidths=0.25, zorder=0)
        )
        mean = adata.obs["n_displaced_genes"][first].mean()
        ax.set_title(f"strength {strength:g}: {mean:.2f} genes", fontsize=9)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_aspect("equal")
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("gene 1", fontsize=8)
    axes[0].set_ylabel("gene 2", fontsize=8)
    sr.tl.sparsity_path(adata, PATH, **call, **how)
    sr.pl.sparsity_path(adata, ax=axes[3], title="sparsity against distance")
    figure.savefig(OUT / "eight_gaussians.png", dpi=150)


def draw_blastocyst() -> None:
    """Draw what changes from the inner cell mass to epiblast and primitive endoderm, and to TE."""
    adata = sr.datasets.guo2010()
    stage, kind = (adata.obs[c].astype(str).to_numpy() for c in ("stage_cells", "cell_type"))
    late = np.where(stage == "64", kind, "earlier")
    adata.obs["state"] = np.where(stage == "32", np.char.add("32-cell ", kind.astype(str)), late)
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.7), layout="constrained")
    for ax, (start, end) in zip(axes, (("ICM", "EPI"), ("ICM", "PE"), ("TE", "TE")), strict=True):
        sr.tl.sparse_displacement(
            adata,
            source=f"32-cell {start}",
            target=end,
            time_key="state",
            groupby="state",
            tau=1.0,
        )
        sr.pl.displacement_genes(adata, ax=ax, n_genes=12, title=f"{start} (32) to {end} (64)")
    figure.savefig(OUT / "displacement_blastocyst.png", dpi=150)


if __name__ == "__main__":
    mpl.use("Agg")
    draw_gaussians()
    if os.environ.get("SCRUOT_DATA_DIR"):
        draw_blastocyst()
