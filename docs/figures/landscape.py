"""Draw the landscape of the three-gene data from above and as a surface.

    python docs/figures/landscape.py

Writes docs/_static/landscape.png and docs/_static/landscape_surface.png. The data are found
through SCRUOT_DATA_DIR or downloaded.
"""

from pathlib import Path

import scruot as sr

FOLDER = Path(__file__).parents[1] / "_static"


def main() -> None:
    """Fit, and draw both."""
    adata = sr.datasets.three_gene_table()
    sr.tl.fit_dynamics(adata, "deepruot", use_rep="X_genes", sigma=0.25, alpha=1.0, progress=False)
    times = [0, 1, 2.5, 4]
    sr.tl.landscape(adata, times)
    sr.pl.landscape(adata, save=FOLDER / "landscape.png")
    surface = {"kind": "surface", "n_columns": 4, "azimuth": -35, "figsize": (9, 2.4)}
    sr.pl.landscape(adata, save=FOLDER / "landscape_surface.png", **surface)


if __name__ == "__main__":
    main()
