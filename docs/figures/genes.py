"""Draw driver genes of the blastocyst's fates, and the network of the three-gene data.

    python docs/figures/genes.py

writes ``docs/_static/driver_genes.png`` and ``docs/_static/network.png``.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import scruot as sr

STATIC = Path(__file__).parents[1] / "_static"


def fates() -> None:
    embryo = sr.datasets.guo2010()
    sr.tl.fate_probabilities(
        embryo,
        "cell_type",
        terminal_states=["EPI", "PE", "TE"],
        source="transport",
        mass={float(t): 2.0**t for t in range(7)},
        n_dims=10,
    )
    sr.tl.driver_genes(embryo, groupby="time", groups=[4, 5])
    sr.pl.driver_genes(embryo, save=STATIC / "driver_genes.png")


def network() -> None:
    adata = sr.datasets.three_gene(200, n_genes=3, random_state=0)
    noise = adata.uns["truth"]["sigma"]
    adata.obsm["X_units"], adata.varm["X_units"] = adata.X / noise, np.diag(noise)
    sr.tl.fit_dynamics(
        adata, "crufm", use_rep="X_units", sigma=1.0, n_models=10, progress=False, random_state=0
    )
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), layout="constrained")
    sr.tl.regulatory_jacobian(adata, "lineage")
    for ax, group in zip(axes, ("transition", "quiescent"), strict=False):
        title = f"derivatives, {group}"
        sr.pl.regulatory_jacobian(adata, group, kind="network", title=title, ax=ax)
    sr.tl.regulatory_jacobian(adata, estimate="regression")
    title = "regression, time 1"
    sr.pl.regulatory_jacobian(adata, "1", kind="network", title=title, ax=axes[2])
    for ax in axes[:2]:  # one legend is enough
        ax.get_legend().remove()
    figure.savefig(STATIC / "network.png")


def main() -> None:
    mpl.use("Agg")
    mpl.rcParams["savefig.dpi"] = 160
    fates()
    network()


if __name__ == "__main__":
    main()
