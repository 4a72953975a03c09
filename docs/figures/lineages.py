"""Draw lineages of the branching simulation: `python docs/figures/lineages.py` writes pictures."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

import scruot as sr

STATIC = Path(__file__).parent.parent / "_static"


def save(name: str) -> None:
    """Write the current figure, the same bytes each time."""
    metadata = {"Date": None} if name.endswith("svg") else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "scruot"}):
        plt.gcf().savefig(STATIC / name, metadata=metadata, dpi=120)
    plt.close()


def main() -> None:
    """Couple, trace and draw."""
    adata = sr.datasets.branching(random_state=0)
    sr.tl.transport(adata, "wfr", use_rep="X_core", progress=False)
    sr.tl.transition_table(adata, "cell_type")
    sr.pl.transport(adata, figsize=(5.2, 2.8), show=False)
    save("flow.svg")
    sr.tl.ancestors(adata, {"cell_type": "C"}, target_time=4)
    sr.pl.ancestors(adata, "core", times=[1, 2, 3, 4], figsize=(6.6, 1.9), show=False)
    save("ancestors.png")


if __name__ == "__main__":
    main()
