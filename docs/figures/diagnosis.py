"""Draw the diagnosis of a fit of the branching simulation: ``docs/_static/diagnosis.png``."""

from pathlib import Path

import scruot as sr

HERE = Path(__file__).parents[1] / "_static"

adata = sr.datasets.branching(1000, 5, n_continue=0, random_state=0)
sizes = adata.obs.groupby("time").size()
sr.tl.fit_dynamics(
    adata, "wfr", use_rep="X_sim", mass={float(t): float(n) for t, n in sizes.items()}
)
sr.tl.fate_probabilities(adata, "cell_type")
sr.tl.diagnose(adata, groupby="cell_type", compute=True)
axes = sr.pl.diagnose(adata, show=False)
axes.figure.savefig(HERE / "diagnosis.png", metadata={"Software": None}, dpi=120)
