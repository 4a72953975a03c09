"""Accuracy and cost of all methods on published data, as markdown tables.

    OMP_NUM_THREADS=1 python benchmarks/dynamics.py --cache FOLDER -o docs/_dynamics.md

Every fit runs in a process of its own. CPU seconds are user plus system seconds of the whole
``fit_dynamics`` call, couplings included; peak memory is that of the process, imports included.
The data are found through SCRUOT_DATA_DIR or downloaded. With ``--cache`` every fit's figures are
kept as a JSON file, and a fit that has one is not repeated: a stopped run goes on, and one method
is measured anew by deleting its files. ``--tables-only`` makes the tables of what is there.
"""

import argparse
import hashlib
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
METHODS = (
    *("wfr", "wfrfm", "uotfm", "vgfm", "crufm", "otcfm", "sf2m"),
    *("varruot", "deepruot", "tigon"),
)
# the two lineages of the published three-gene table are apart in the sum of both genes
LINEAGE_THRESHOLD = 0.6
NULLS = ("linear", "wfr", "previous", "next", "pooled")
# Mean W1, largest or mean mass error, CPU seconds of a whole run of other people's code, measured
# in the same way on a similar machine with one thread.
ORIGINALS = (
    ("three-gene", "WFR-FM", "`wfrfm`, `wfr`", 0.0193, "0.002", "218"),
    ("three-gene", "OT-CFM (torchcfm), 600 steps", "`otcfm`", 0.075, "mass stays 1", "24"),
    ("three-gene", "[SF]2M (torchcfm), 600 steps, flow", "`sf2m`", 0.085, "mass stays 1", "27"),
    ("three-gene", "[SF]2M (torchcfm), 600 steps, noise", "`sf2m`", 0.069, "mass stays 1", "27"),
    (
        "three-gene",
        "crufm (CytoBridge 1.4), 848 of 3000 steps, flow",
        "`crufm`",
        0.036,
        "0.006",
        "121",
    ),
    ("three-gene", "crufm (CytoBridge 1.4), the same, noise", "`crufm`", 0.030, "0.003", "121"),
    (
        "three-gene",
        "unbalanced OT (CytoBridge 1.4), 30 s of training",
        "",
        0.141,
        "0.026",
        "299 in full",
    ),
    (
        "three-gene",
        "dynamical OT (CytoBridge 1.4), 30 s of training",
        "",
        0.343,
        "mass stays 1",
        "179 in full",
    ),
    ("three-gene", "MIOFlow 0.1.14", "", 0.454, "mass stays 1", "36"),
    (
        "three-gene",
        "Var-RUOT, the paper's own figure (three of four times)",
        "`varruot`",
        0.047,
        "",
        "9 to 12 an epoch of 1001",
    ),
    ("three-gene", "DeepRUOT, shipped weights, flow", "`deepruot`", 0.101, "0.027", "over 440"),
    (
        "three-gene",
        "DeepRUOT, shipped weights, noise 0.25",
        "`deepruot`",
        0.168,
        "0.019",
        "over 440",
    ),
    ("three-gene", "TIGON", "`tigon`", None, "", "some 4.4 hours"),
    ("dyngen", "WFR-FM, shipped weights", "`wfrfm`, `wfr`", 0.134, "0.007", ""),
    ("dyngen", "OT-CFM (torchcfm), 400 steps", "`otcfm`", 0.441, "mass stays 1", "14"),
    ("dyngen", "[SF]2M (torchcfm), 400 steps, flow", "`sf2m`", 0.431, "mass stays 1", "18"),
    ("dyngen", "[SF]2M (torchcfm), 400 steps, noise", "`sf2m`", 0.495, "mass stays 1", "18"),
    ("EMT", "WFR-FM, shipped weights", "`wfrfm`, `wfr`", 0.2235, "0.002", ""),
    ("EMT", "OT-CFM (torchcfm), 400 steps", "`otcfm`", 0.257, "mass stays 1", "10"),
    ("EMT", "[SF]2M (torchcfm), 400 steps, flow", "`sf2m`", 0.257, "mass stays 1", "13"),
    ("EMT", "[SF]2M (torchcfm), 400 steps, noise", "`sf2m`", 0.258, "mass stays 1", "13"),
    ("EMT", "DeepRUOT, shipped weights, flow", "`deepruot`", 0.267, "0.117", ""),
    ("EMT", "DeepRUOT, shipped weights, noise", "`deepruot`", 0.281, "0.119", ""),
)


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
    result["resolved"] = {
        k: float(v) for k, v in adata.uns["dynamics"]["resolved"].items() if not isinstance(v, str)
    }
    result["floor"] = evaluation["action"]["floor_primal"]
    result |= in_time(adata, use_rep, DELTAS[job["data"]], job["seed"])
    if groupby:
        groups = evaluation["groups"]
        result["lineage_error"] = float(groups["mass_error"].max())
        x = np.asarray(adata.obsm[use_rep])
        true = x[:, 1] ** 2 / (1 + x[:, 1] ** 2)
        growth = adata.obs["growth"].to_numpy()
        if growth.std() > 0:
            result["growth_r"] = float(np.corrcoef(growth, true)[0, 1])
            # true growth is 0.52 h per unit of label time
            result["growth_slope"] = float(np.polyfit(0.52 * true, growth, 1)[0])
    return result


def in_time(adata, use_rep: str, delta: float, seed: int) -> dict:  # noqa: ANN001
    """Return the action under the published delta, and W1 of the flow of a stochastic model."""
    import scruot
    from scruot.dynamics.passage import passage

    model = scruot.get.dynamics(adata)
    x = np.asarray(adata.obsm[use_rep], dtype=float)[:, : model.dim]
    at = adata.obs["time"].to_numpy().astype(float)
    seen = np.ones(len(at), dtype=bool)
    if "dynamics_holdout" in adata.obs:
        seen = ~adata.obs["dynamics_holdout"].to_numpy()
    start = x[seen & (at == model.times[0])]
    weights = np.full(len(start), 1 / len(start))
    run = passage(
        model,
        start,
        list(model.times),
        weights=weights,
        delta=delta,
        until=model.times[-1],
        random_state=seed,
    )
    found = {"action": run.action}
    if model.stochastic:
        flow = model.simulate(start, list(model.times), weights=weights, stochastic=False)
        expected = np.asarray(model.masses)
        found["flow_mass_error"] = float(np.abs(flow.mass.numpy() / expected - 1).max())
        found["flow_w1"] = [
            scruot.metrics.w1(flow.x[k].double().numpy(), x[at == t], flow.weights[k].numpy())
            for k, t in enumerate(model.times)
            if k > 0
        ]
    return found


def run(job: dict, cache: Path | None, *, only_cached: bool) -> dict | None:
    """Return the figures of a job, from the cache or from a process of its own."""
    text = json.dumps(job, sort_keys=True)
    file = None
    if cache is not None:
        name = f"{job['method']}-{job['data']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        file = cache / f"{name}.json"
    if file is not None and file.exists():
        result = json.loads(file.read_text())
    elif only_cached:
        return None
    else:
        command = [sys.executable, __file__, "--job", text]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        result = json.loads(done.stdout.splitlines()[-1])
        sys.stderr.write(f"{text} {result['cpu']:.1f} CPU s\n")
        if file is not None:
            file.write_text(json.dumps(result))
    result["table"] = pd.DataFrame(result["table"])
    return result


def jobs(method: str, data: str, seeds: range, kind: str) -> list[dict]:
    """Return the jobs of a row of a table."""
    import scruot

    known = scruot.solvers.describe(method)["parameters"]
    base: dict = {"method": method, "data": data}
    if "delta" in known and kind != "auto":
        base["delta"] = DELTAS[data]
    if kind == "cells":
        base["holdout_cells"] = 0.5
    if kind.startswith("time "):
        base["holdout"] = float(kind.removeprefix("time "))
    return [{**base, "seed": s} for s in seeds]


def figures(table: pd.DataFrame, split: str, comparison: str, column: str) -> list[float]:
    rows = table[(table["split"] == split) & (table["comparison"] == comparison)]
    return rows.sort_values("time")[column].tolist()


def shown(values: list[float], digits: int = 3) -> str:
    """Mean, and the range over seeds."""
    values = [v for v in values if v is not None]
    if not values:
        return ""
    if len(values) == 1 or max(values) == min(values):
        return f"{np.mean(values):.{digits}f}"
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


class Tables:
    """The sections of the report; each asks for its fits."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.methods, self.seeds = options.methods, range(options.seeds)
        self.time_seeds = range(options.time_seeds)
        self.cache, self.only_cached = options.cache, options.tables_only

    def fits(self, method: str, data: str, kind: str) -> list[dict]:
        seeds = self.time_seeds if kind.startswith("time ") else self.seeds
        found = [
            run(job, self.cache, only_cached=self.only_cached)
            for job in jobs(method, data, seeds, kind)
        ]
        return [f for f in found if f is not None]

    def in_sample(self, kind: str, methods: tuple[str, ...]) -> str:
        lines = [
            "| data | method | mean W1 | largest mass error | growth r | growth slope "
            "| lineage mass error | action | floor | CPU s | peak GB | seeds |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for data in LOADERS:
            for method in methods:
                if fits := self.fits(method, data, kind):
                    lines += self._in_sample_rows(data, method, fits)
        return "\n".join(lines)

    @staticmethod
    def _in_sample_rows(data: str, method: str, fits: list[dict]) -> list[str]:
        def row(name: str, w1: list[float], mass: list[float]) -> str:
            # the action is that under the published delta: a floor under another is none of it
            floor = [f["floor"] for f in fits if "delta" in f and np.isfinite(f["floor"])]
            return (
                f"| {data} | {name} | {shown(w1, 4)} | {shown(mass, 4)} | "
                f"{shown([f.get('growth_r') for f in fits])} | "
                f"{shown([f.get('growth_slope') for f in fits], 2)} | "
                f"{shown([f.get('lineage_error') for f in fits])} | "
                f"{shown([f['action'] for f in fits])} | {shown(floor)} | "
                f"{shown([f['cpu'] for f in fits], 1)} | {max(f['peak_gb'] for f in fits):.2f} | "
                f"{len(fits)} |"
            )

        w1 = [np.mean(figures(f["table"], "observed", "model", "w1")) for f in fits]
        mass = [max(figures(f["table"], "observed", "model", "mass_error")) for f in fits]
        if "flow_w1" not in fits[0]:
            return [row(f"`{method}`", w1, mass)]
        flow = [np.mean(f["flow_w1"]) for f in fits]
        flow_mass = [f["flow_mass_error"] for f in fits if "flow_mass_error" in f]
        return [row(f"`{method}`, noise", w1, mass), row(f"`{method}`, flow", flow, flow_mass)]

    def held_out_cells(self) -> str:
        lines = [
            "| data | method | mean W1 to the other half | noise floor | ratio of the means "
            "| ratio per seed |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for data in LOADERS:
            for method in self.methods:
                fits = self.fits(method, data, "cells")
                if not fits:
                    continue
                tables = [f["table"] for f in fits]
                model = [np.mean(figures(t, "held-out cells", "model", "w1")) for t in tables]
                floor = [np.mean(figures(t, "held-out cells", "noise floor", "w1")) for t in tables]
                ratios = ", ".join(f"{m / f:.3f}" for m, f in zip(model, floor, strict=True))
                lines.append(
                    f"| {data} | `{method}` | {shown(model, 4)} | {shown(floor, 4)} | "
                    f"{np.mean(model) / np.mean(floor):.3f} | {ratios} |"
                )
        return "\n".join(lines)

    def held_out_times(self) -> str:
        lines = [
            "| data | time | " + " | ".join(f"`{m}`" for m in self.methods) + " | "
            "linear | WFR | previous | next | pooled | noise floor |",
            "| --- | --- |" + " --- |" * (len(self.methods) + len(NULLS) + 1),
        ]
        for data, times in MIDDLE_TIMES.items():
            for t in times:
                cells, nulls = [], None
                for method in self.methods:
                    tables = [f["table"] for f in self.fits(method, data, f"time {t}")]
                    w1 = [figures(x, "held-out time", "model", "w1")[0] for x in tables]
                    mass = [figures(x, "held-out time", "model", "mass_error")[0] for x in tables]
                    cells.append(f"{shown(w1)}; {np.mean(mass):.2f}" if w1 else "")
                    if tables and nulls is None:
                        nulls = [
                            figures(tables[0], "held-out time", name, "w1")[0]
                            for name in (*NULLS, "noise floor")
                        ]
                if nulls is not None:
                    lines.append(
                        f"| {data} | {t:g} | {' | '.join(cells)} | "
                        + " | ".join(f"{v:.3f}" for v in nulls)
                        + " |"
                    )
        return "\n".join(lines)


def originals() -> str:
    lines = [
        "| data | code | here | mean W1 | mass error | CPU s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for data, code, here, w1, mass, cpu in ORIGINALS:
        shown_w1 = "" if w1 is None else f"{w1:.3g}"
        lines.append(f"| {data} | {code} | {here} | {shown_w1} | {mass} | {cpu} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--time-seeds", type=int, default=3, help="seeds for left-out times")
    parser.add_argument("--cache", type=Path, help="folder with one file per fit")
    parser.add_argument("--tables-only", action="store_true", help="no fit, only what is cached")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(work(json.loads(options.job))))
        return
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
    tables = Tables(options)
    with_delta = tuple(m for m in options.methods if m in ("wfr", "wfrfm"))
    sections = {
        "All cells, the published delta": tables.in_sample("published", options.methods),
        "Other people's code": originals(),
        "Held-out cells": tables.held_out_cells(),
        "Held-out times: W1; mass error": tables.held_out_times(),
        'All cells, `delta="auto"`': tables.in_sample("auto", with_delta),
    }
    # a table of nothing but its head is left out
    filled = {title: body for title, body in sections.items() if body.count("\n") > 1}
    text = "\n\n".join(f"### {title}\n\n{body}" for title, body in filled.items()) + "\n"
    if options.output:
        options.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
