"""How the neural displacement maps do, beside the default: one line per data set and setting.

    python benchmarks/icnn.py [NAME ...]

Names are those of ``CASES``; without any, all of them run, one after another (minutes each).
CPU seconds are user and system time of the fit, on one thread.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from scruot import datasets, tl
from scruot.displacement.icnn import fit_icnn

# data, and what is asked of the map
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "uniform-1000": (
        {"kind": "uniform", "n_cells": 500, "n_genes": 1000},
        {"n_active": 100, "threshold": 1.0, "rounds": 20, "block": 5, "trials": 3},
    ),
    "uniform-3000": (
        {"kind": "uniform", "n_cells": 500, "n_genes": 3000},
        {"n_active": 100, "threshold": 1.0, "rounds": 20, "block": 5, "trials": 3},
    ),
    "jumping-300-weak": (
        {"kind": "jumping", "n_cells": 800, "n_genes": 300},
        {"strength": 0.2, "rounds": 400},
    ),
    "jumping-1000-weak": (
        {"kind": "jumping", "n_cells": 800, "n_genes": 1000},
        {"strength": 0.2, "rounds": 400},
    ),
    "jumping-300": (
        {"kind": "jumping", "n_cells": 800, "n_genes": 300},
        {"n_active": 20, "trials": 3},
    ),
    "jumping-1000": (
        {"kind": "jumping", "n_cells": 800, "n_genes": 1000},
        {"n_active": 20, "trials": 3, "rounds": 800},
    ),
    "jumping-3000": (
        {"kind": "jumping", "n_cells": 800, "n_genes": 3000},
        {"n_active": 20, "trials": 3, "rounds": 2000},
    ),
}


def scores(displacement: np.ndarray, adata: Any) -> tuple[float, float]:
    """Return average precisions of genes, and of pairs of cells and genes."""
    start = (adata.obs["time"] == adata.obs["time"].min()).to_numpy()
    truth = adata.layers["displacement_true"][start].toarray() != 0
    size = np.abs(displacement)
    genes = average_precision_score(adata.var["displaced_true"], np.quantile(size, 0.97, axis=0))
    return genes, average_precision_score(truth.ravel(), size.ravel())


def report(
    name: str, method: str, moved: np.ndarray, adata: Any, seconds: float, *more: str
) -> None:
    genes, pairs = scores(moved, adata)
    active = (moved != 0).sum(axis=1).mean()
    print(
        f"| {name} | {method} | {genes:.2f} / {pairs:.2f} | {active:.1f} | "
        f"{' | '.join(more) or '– | –'} | {seconds:.0f} |",
        flush=True,
    )


def run(name: str, extra: dict[str, Any], *, seed: int, local: bool) -> None:
    data, wanted = CASES[name]
    adata = datasets.sparse_displacement(random_state=seed, **data)
    time_ = adata.obs["time"].to_numpy()
    y, x = (np.asarray(adata.X[time_ == t], dtype=float) for t in (0.0, 1.0))
    start = time.process_time()
    found = fit_icnn(y, x, device="cpu", progress=True, **wanted | extra)
    seconds = time.process_time() - start
    report(
        name,
        "icnn",
        found.displacement(y),
        adata,
        seconds,
        f"{found.strength:.3g}",
        f"{found.error:.3f}",
    )
    if local:
        start = time.process_time()
        tl.sparse_displacement(adata)
        moved = adata.obsm["displacement"][time_ == 0].toarray()
        report(name, "local", moved, adata, time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--no-local", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    parser.add_argument("--set", nargs="*", default=[], help="name=number, for all cases")
    parser.add_argument("--flush-denormal", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(given.flush_denormal)
    pairs = (text.split("=") for text in given.set)
    extra = {k: float(v) if "." in v or "e" in v else int(v) for k, v in pairs}
    print("| data | method | AP genes / pairs | genes a cell | strength | error | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in given.names or CASES:
        run(name, extra, seed=given.seed, local=not given.no_local)


if __name__ == "__main__":
    main()
