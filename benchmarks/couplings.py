"""Time, certificate and sparsity of static WFR couplings, as a markdown table.

    python benchmarks/couplings.py --data FOLDER --sizes 2000 20000

The published tables are read from ``--data`` (or the variable SCRUOT_DATA_DIR); without either only
synthetic clouds are coupled: clusters in 50 dimensions that drift and grow at different rates.
CPU seconds are user plus system seconds of the process; set OMP_NUM_THREADS=1 for one core.
"""

import argparse
import itertools
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from scruot.transport import wfr_coupling

TABLES = {
    "three-gene": ("simulation_gene2d.csv.gz", 2, 1.5),
    "dyngen": ("dyngen5d.csv.gz", 5, 2.0),
    "EMT": ("emt_a549_ae10.csv.gz", 10, 2.0),
}
COLUMNS = "pair, n, m, delta, method, CPU s, primal, dual, gap, targets per row, peak RSS (MB)"


def published(folder: Path) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    """Yield the consecutive snapshots of the published tables."""
    for name, (file, dim, delta) in TABLES.items():
        table = pd.read_csv(folder / file)
        columns = [f"x{i + 1}" for i in range(dim)]
        clouds = [torch.tensor(part[columns].to_numpy()) for _, part in table.groupby("time")]
        for k, (x, y) in enumerate(itertools.pairwise(clouds)):
            yield f"{name} {k} to {k + 1}", x, y, delta


def synthetic(n: int, seed: int, dim: int = 50, clusters: int = 30) -> tuple[Tensor, Tensor]:
    """Draw two clouds of ``n`` cells from drifting clusters with growth."""
    rng = torch.Generator().manual_seed(seed)
    centre = 2.0 * torch.randn(clusters, dim, generator=rng, dtype=torch.float64)
    drift = 0.5 * torch.randn(clusters, dim, generator=rng, dtype=torch.float64)
    share = 0.2 + torch.rand(clusters, generator=rng)
    later = share * torch.exp(0.5 * torch.randn(clusters, generator=rng))
    i = torch.multinomial(share, n, replacement=True, generator=rng)
    j = torch.multinomial(later, n, replacement=True, generator=rng)
    noise = 0.5 * torch.randn(2 * n, dim, generator=rng, dtype=torch.float64)
    return centre[i] + noise[:n], (centre + drift)[j] + noise[n:]


def row(name: str, x: Tensor, y: Tensor, delta: float, options: dict[str, object]) -> str:
    """Couple one pair of clouds and describe the result."""
    begin = time.process_time()
    plan = wfr_coupling(x, y, torch.ones(len(x)), torch.ones(len(y)), delta, **options)
    seconds = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gap = f"{plan.gap:.1e}" + ("" if plan.certified else " (estimate)")
    targets = float(plan.effective_targets().median())
    return (
        f"| {name} | {len(x)} | {len(y)} | {delta:g} | {plan.method} | {seconds:.2f} | "
        f"{plan.primal:.6g} | {plan.dual:.6g} | {gap} | {targets:.2f} | {memory:.0f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SCRUOT_DATA_DIR"))
    parser.add_argument("--sizes", type=int, nargs="*", default=[2000], help="synthetic sizes")
    parser.add_argument("--delta", type=float, default=5.0, help="delta of the synthetic pairs")
    parser.add_argument("--method", default="auto", choices=["auto", "exact", "hierarchical"])
    parser.add_argument("--blur", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    titles = COLUMNS.split(", ")
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    how: dict[str, object] = {"method": options.method, "blur": options.blur}
    if options.data is not None:
        for name, x, y, delta in published(Path(options.data)):
            print(row(name, x, y, delta, how), flush=True)
    for n in options.sizes:
        x, y = synthetic(n, options.seed)
        print(row(f"clusters, {x.shape[1]}-d", x, y, options.delta, how), flush=True)


if __name__ == "__main__":
    main()
