"""Accuracy and cost of fitted dynamics on published data, as markdown tables.

    OMP_NUM_THREADS=1 python benchmarks/dynamics.py -o docs/_benchmarks.md

Every fit runs in a process of its own. CPU seconds are user plus system seconds of the whole
``fit_dynamics`` call, couplings included; peak memory is that of the process, imports included.
The data are found through SCRUOT_DATA_DIR or downloaded.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

LOADERS = {"three-gene": "three_gene_table", "dyngen": "dyngen", "EMT": "emt"}
REPRESENTATIONS = {"three-gene": "X_genes", "dyngen": "X_latent", "EMT": "X_ae"}
DELTAS = {"three-gene": 1.5, "dyngen": 2.0, "EMT": 2.0}
MIDDLE_TIMES = {"three-gene": (1.0, 2.0, 3.0), "dyngen": (1.0, 2.0, 3.0), "EMT": (1.0, 2.0)}
# the two lineages of the published three-gene table are apart in the sum of both genes
LINEAGE_THRESHOLD = 0.6


def work(job: dict) -> dict:
    """Fit and score once; runs in a process of its own."""
    import scruot

    adata = getattr(scruot.datasets, LOADERS[job["data"]])()
    use_rep = REPRESENTATIONS[job["data"]]
    settings = {k: job[k] for k in ("holdout", "holdout_cells", "delta") if k in job}
    groupby = None
    if job["data"] == "three-gene":
        moving = np.asarray(adata.obsm[use_rep])[:, :2].sum(1) > LINEAGE_THRESHOLD
        adata.obs["lineage"] = pd.Categorical(np.where(moving, "transition", "quiescent"))
        groupby = "lineage"
    start = time.process_time()
    scruot.tl.fit_dynamics(
        adata,
        job["method"],
        use_rep=use_rep,
        random_state=job["seed"],
        progress=False,
        device="cpu",
        **settings,
    )
    cpu = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    table = scruot.tl.evaluate(adata, groupby=groupby, random_state=job["seed"], device="cpu")
    result = {**job, "cpu": cpu, "peak_gb": peak, "table": table.to_dict("list")}
    evaluation = adata.uns["dynamics_evaluation"]
    result["action"] = evaluation["action"]
    result["delta_used"] = adata.uns["dynamics"]["resolved"].get("delta")
    if groupby:
        groups = evaluation["groups"]
        result["lineage_error"] = float(groups["mass_error"].max())
        x = np.asarray(adata.obsm[use_rep])
        true = x[:, 1] ** 2 / (1 + x[:, 1] ** 2)
        result["growth_r"] = float(np.corrcoef(adata.obs["growth"], true)[0, 1])
    return result


def run(job: dict) -> dict:
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    result = json.loads(done.stdout.splitlines()[-1])
    result["table"] = pd.DataFrame(result["table"])
    sys.stderr.write(f"{job} {result['cpu']:.1f} CPU s\n")
    return result


def figures(table: pd.DataFrame, split: str, comparison: str, column: str) -> list[float]:
    rows = table[(table["split"] == split) & (table["comparison"] == comparison)]
    return rows.sort_values("time")[column].tolist()


def shown(values: list[float], digits: int = 3) -> str:
    """Mean, and the range over seeds."""
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def in_sample(method: str, seeds: range, *, auto: bool) -> str:
    lines = [
        "| data | delta | mean W1 | largest mass error | growth r | lineage mass error | action "
        "| static floor | action / floor | CPU s | peak GB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data in LOADERS:
        jobs = [{"data": data, "method": method, "seed": s} for s in seeds]
        if not auto:
            jobs = [{**job, "delta": DELTAS[data]} for job in jobs]
        fits = [run(job) for job in jobs]
        w1 = [np.mean(figures(f["table"], "observed", "model", "w1")) for f in fits]
        mass = [max(figures(f["table"], "observed", "model", "mass_error")) for f in fits]
        action = [f["action"]["model"] for f in fits]
        floor = [f["action"]["floor_primal"] for f in fits]
        gene = data == "three-gene"
        lines.append(
            f"| {data} | {fits[0]['delta_used']:.3g} | {shown(w1, 4)} | {shown(mass, 4)} | "
            + (shown([f["growth_r"] for f in fits], 4) if gene else "")
            + " | "
            + (shown([f["lineage_error"] for f in fits], 4) if gene else "")
            + f" | {shown(action)} | {np.mean(floor):.4f} | "
            + f"{shown([a / b for a, b in zip(action, floor, strict=True)])} | "
            + f"{shown([f['cpu'] for f in fits], 1)} | {max(f['peak_gb'] for f in fits):.2f} |"
        )
    return "\n".join(lines)


def held_out_times(method: str, seeds: range) -> str:
    lines = [
        "| data | time | W1 | linear | WFR | previous | next | pooled | noise floor | mass error |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data, times in MIDDLE_TIMES.items():
        for t in times:
            job = {"data": data, "method": method, "holdout": t, "delta": DELTAS[data]}
            tables = [run({**job, "seed": s})["table"] for s in seeds]

            def column(comparison: str, name: str = "w1", tables: list = tables) -> list[float]:
                return [figures(f, "held-out time", comparison, name)[0] for f in tables]

            nulls = [column(c)[0] for c in ("linear", "wfr", "previous", "next", "pooled")]
            lines.append(
                f"| {data} | {t:g} | {shown(column('model'))} | "
                + " | ".join(f"{v:.3f}" for v in nulls)
                + f" | {np.mean(column('noise floor')):.3f} | "
                + f"{np.mean(column('model', 'mass_error')):.3f} |"
            )
    return "\n".join(lines)


def held_out_cells(method: str, seeds: range) -> str:
    lines = [
        "| data | mean W1 to the other half | noise floor | ratio of the means | ratio per seed |",
        "| --- | --- | --- | --- | --- |",
    ]
    for data in LOADERS:
        job = {"data": data, "method": method, "holdout_cells": 0.5, "delta": DELTAS[data]}
        tables = [run({**job, "seed": s})["table"] for s in seeds]
        model = [np.mean(figures(f, "held-out cells", "model", "w1")) for f in tables]
        floor = [np.mean(figures(f, "held-out cells", "noise floor", "w1")) for f in tables]
        ratios = ", ".join(f"{m / f:.3f}" for m, f in zip(model, floor, strict=True))
        lines.append(
            f"| {data} | {shown(model, 4)} | {shown(floor, 4)} | "
            f"{np.mean(model) / np.mean(floor):.3f} | {ratios} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="wfrfm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(work(json.loads(options.job))))
        return
    seeds = range(options.seeds)
    sections = {
        "Held-out cells": held_out_cells(options.method, seeds),
        "Held-out times": held_out_times(options.method, seeds),
        "All cells, the papers' delta": in_sample(options.method, seeds, auto=False),
        'All cells, `delta="auto"`': in_sample(options.method, seeds, auto=True),
    }
    text = "\n\n".join(f"### {title}\n\n{body}" for title, body in sections.items()) + "\n"
    if options.output:
        options.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
