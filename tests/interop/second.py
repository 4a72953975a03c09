"""Run cells of the guide where there are CellRank and scVelo, and no scruot; report what came out.

Called as ``python second.py FOLDER``: ``blocks.json`` in it holds the cells, and ``facts.json`` is
written. Matrices go to ``.npz`` files, for the other environment to judge.
"""

import importlib.metadata
import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")


def main(folder: Path) -> None:
    import cellrank as cr
    import matplotlib.pyplot as plt
    import numpy as np
    from scipy.sparse import save_npz

    os.chdir(folder)
    namespace: dict = {}
    figures, kernels = [], []
    for number, code in enumerate(json.loads(Path("blocks.json").read_text())):
        before = namespace.get("kernel")
        exec(compile(code, f"cell {number}", "exec"), namespace)
        figures.append(len(plt.get_fignums()))
        plt.close("all")
        kernel = namespace.get("kernel")
        if kernel is not before:
            name = type(kernel).__name__
            kernels.append(name)
            save_npz(f"{name}.npz", kernel.transition_matrix.tocsr())
    adata = namespace["adata"]
    lineages = cr.Lineage.from_adata(adata)
    simplex = adata.obsm["X_fate_simplex_fwd"]
    facts = {
        "scruot": importlib.util.find_spec("scruot") is not None,
        "versions": {name: importlib.metadata.version(name) for name in ("cellrank", "scvelo")},
        "kernels": kernels,
        "figures": figures,
        "names": list(lineages.names),
        "colors": list(lineages.colors),
        "probabilities": np.asarray(lineages.X).tolist(),
        "simplex": [list(simplex.shape), bool(np.isfinite(simplex).all())],
    }
    Path("facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
