"""Time, certificate and sparsity of static WFR couplings, as a markdown table.

    python benchmarks/couplings.py --data FOLDER --sizes 2000 20000
    python benchmarks/couplings.py --sizes --penalties kl tv chi2 l2 exact
    python benchmarks/couplings.py --series 5000 20000 100000 200000 --fit

The published tables are read from ``--data`` (or the variable SCRUOT_DATA_DIR); without either only
synthetic clouds are coupled: clusters in 50 dimensions that drift and grow at different rates.
``--penalties`` couples the published snapshots under squared distances, with the same penalty on
both sides at the price of ``auto_tau`` (``exact``: equal total masses). ``--series`` couples a
chain of five such snapshots, each size in a process of its own, and with ``--fit`` fits the
dynamics in another: fits at all sizes are scored against the same fixed random cells. CPU seconds
are user plus system seconds of the process; set OMP_NUM_THREADS for the cores.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scruot.transport import Penalty, auto_tau, couple, wfr_coupling

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


def series(n: int, seed: int, draw: int = 0, dim: int = 50, clusters: int = 30) -> list[Tensor]:
    """Draw five snapshots of ``n`` cells; the clusters depend on ``seed`` only."""
    rng = torch.Generator().manual_seed(seed)
    centre = 2.0 * torch.randn(clusters, dim, generator=rng, dtype=torch.float64)
    drift = 0.5 * torch.randn(clusters, dim, generator=rng, dtype=torch.float64)
    share = 0.2 + torch.rand(clusters, generator=rng)
    growth = 0.5 * torch.randn(clusters, generator=rng)
    rng.manual_seed(seed + 1000 + draw)
    clouds = []
    for k in range(5):
        i = torch.multinomial(share * (growth * k).exp(), n, replacement=True, generator=rng)
        noise = 0.5 * torch.randn(n, dim, generator=rng, dtype=torch.float64)
        clouds.append((centre + k * drift)[i].add_(noise))
    return clouds


def chain(job: dict) -> dict:
    """Couple a series; runs in a process of its own."""
    clouds = series(job["n"], job["seed"])
    rows, began = [], time.time()
    for x, y in itertools.pairwise(clouds):
        begin = time.process_time()
        one = torch.ones(len(x)), torch.ones(len(y))
        plan = wfr_coupling(x, y, *one, job["delta"], method=job["method"])
        found = {"cpu": time.process_time() - begin, "primal": plan.primal / len(x)}
        found |= {"dual": plan.dual / len(x), "gap": plan.gap, "nnz": len(plan.row) / len(x)}
        rows.append(found | {"certified": plan.certified, "converged": plan.converged})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"rows": rows, "peak": peak, "wall": time.time() - began}


def fit(job: dict, shown: int = 2000) -> dict:
    """Fit the dynamics of a series and score them on fixed new cells; in a process of its own."""
    import anndata as ad

    import scruot

    begin = time.process_time()
    clouds = series(job["n"], job["seed"])
    times = np.repeat(np.arange(5.0), job["n"])
    rep = torch.cat(clouds).float().numpy()
    del clouds
    adata = ad.AnnData(obs=pd.DataFrame({"time": times}, index=[str(i) for i in range(len(times))]))
    adata.obsm["X_pca"] = rep
    settings = {"delta": job["delta"], "coupling": job["method"]}
    scruot.tl.fit_dynamics(adata, "wfrfm", progress=False, device="cpu", **settings)
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    new, other = (series(shown, job["seed"], draw) for draw in (1, 2))
    path = scruot.get.dynamics(adata).simulate(new[0].float().numpy(), [0.0, 1.0, 2.0, 3.0, 4.0])
    result = {"cpu": seconds, "peak": peak, "w1": [], "floor": []}
    for k in range(1, 5):
        cells = new[k].numpy()
        result["w1"].append(scruot.metrics.w1(path.x[k], cells, path.weights[k]))
        result["floor"].append(scruot.metrics.w1(other[k].numpy(), cells))
    return result


def apart(job: dict) -> dict:
    """Run a job in a process of its own."""
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def report_series(jobs: list[dict]) -> None:
    """Print the chains of couplings, a row per size."""
    titles = "n, CPU s, wall s, threads, peak RSS (GB), primal per cell, gaps, entries per cell"
    titles += ", certified, converged"
    print("\n| " + titles.replace(", ", " | ") + " |\n" + "| --- " * 10 + "|")
    for job in jobs:
        found = apart({**job, "task": "chain"})
        rows = found["rows"]

        def shown(name: str, form: str, rows: list[dict] = rows) -> str:
            return ", ".join(format(one[name], form) for one in rows)

        cells = [job["n"], shown("cpu", ".0f"), f"{found['wall']:.0f}", torch.get_num_threads()]
        cells += [f"{found['peak']:.2f}", shown("primal", ".4f"), shown("gap", ".1e")]
        cells += [shown("nnz", ".1f")]
        cells += [all(one[name] for one in rows) for name in ("certified", "converged")]
        print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def report_fits(jobs: list[dict]) -> None:
    """Print the scores of dynamics, a row per size."""
    print("\n| n | CPU s | peak RSS (GB) | W1 at times 1 to 4 | of another sample |")
    print("| --- " * 5 + "|")
    for job in jobs:
        found = apart({**job, "task": "fit"})
        model, floor = (", ".join(f"{v:.3f}" for v in found[name]) for name in ("w1", "floor"))
        print(
            f"| {job['n']} | {found['cpu']:.0f} | {found['peak']:.2f} | {model} | {floor} |",
            flush=True,
        )


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


def report_penalties(folder: Path, kinds: list[str]) -> None:
    """Print couplings of the published snapshots under squared distances, a row per penalty."""
    titles = "pair, penalty, tau, CPU s, primal, dual, gap, moved, targets per row"
    print("| " + titles.replace(", ", " | ") + " |\n" + "| --- " * 9 + "|")
    for name, x, y, _ in published(folder):
        for kind in kinds:
            tau = float("inf") if kind == "exact" else auto_tau([x, y])
            a = torch.full((len(x),), 1.0 / len(x)) if kind == "exact" else torch.ones(len(x))
            b = torch.full((len(y),), 1.0 / len(y)) if kind == "exact" else torch.ones(len(y))
            begin = time.process_time()
            plan = couple(x, y, a, b, source=Penalty(kind, tau), target=Penalty(kind, tau))
            seconds = time.process_time() - begin
            moved = plan.moved / float(torch.minimum(a.sum(), b.sum()))
            print(
                f"| {name} | {kind} | {tau:.4g} | {seconds:.2f} | {plan.primal:.6g} | "
                f"{plan.dual:.6g} | {plan.gap:.1e} | {moved:.3f} | "
                f"{float(plan.effective_targets().median()):.2f} |",
                flush=True,
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
    parser.add_argument("--series", type=int, nargs="*", default=[], help="sizes of the chains")
    parser.add_argument("--fit", action="store_true", help="fit dynamics of the chains, too")
    parser.add_argument("--penalties", nargs="*", default=[], help="under squared distances")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job = json.loads(options.job)
        print(json.dumps({"chain": chain, "fit": fit}[job["task"]](job)))
        return
    if options.series:
        jobs = [
            {"n": n, "seed": options.seed, "delta": options.delta, "method": "hierarchical"}
            for n in options.series
        ]
        report_series(jobs)
        if options.fit:
            report_fits(jobs)
        return
    if options.penalties:
        if options.data is None:
            parser.error("--penalties couples the published tables: name their folder with --data")
        report_penalties(Path(options.data), options.penalties)
        return
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
