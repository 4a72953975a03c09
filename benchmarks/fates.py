"""Fates against continued simulation, as a markdown table.

    python benchmarks/fates.py --seeds 1 2 3 -o docs/_fates.md

Data: ``datasets.branching`` (two nested forks, three fates), true sizes given, in 10 dimensions,
with equal counts, and in 50 dimensions; a three-way fork and a cycle with an exit, made here; two
populations that do not move. Scores are those of the page that includes the table. ``--methods``
chooses what carries the cells: ``transport`` is the rule, others are solvers.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from current_velocity import cosine, current_velocity
from sklearn.metrics import roc_auc_score

import scruot

BRANCHING = {
    "10-d": {"n_dims": 10},
    "equal counts": {"n_dims": 10, "sampling": "equal"},
    "50-d": {"n_dims": 50},
}
OTHERS = ("three-way fork", "cycle with an exit", "growth alone")
STATES = {"three-way fork": ["A", "B", "C"], "cycle with an exit": ["cycling", "out"]}


def fork(seed: int, n: int = 2000, n_dims: int = 10) -> AnnData:
    """Cells that leave one place along three directions, 120 degrees apart, and grow unequally."""
    angles = np.array([0.5, 2.6, 4.7])
    wells = 2.0 * np.column_stack([np.cos(angles), np.sin(angles)])
    rates = np.array([0.5, 0.2, 0.0])

    def pull(t: float, x: np.ndarray) -> np.ndarray:
        square = ((x[:, None, :2] - wells) ** 2).sum(2)
        weight = np.exp(-1.5 * (square - square.min(1, keepdims=True)))
        weight /= weight.sum(1, keepdims=True)
        return min(t, 1.0) * (weight @ wells - x[:, :2])

    def grow(t: float, x: np.ndarray) -> np.ndarray:
        square = ((x[:, None, :2] - wells) ** 2).sum(2)
        near = np.exp(-(square / 1.0))
        return near @ rates

    def fate(x: np.ndarray) -> np.ndarray:
        return ((x[:, None, :2] - wells) ** 2).sum(2).argmin(1)

    return population(seed, pull, grow, fate, ["A", "B", "C"], n, n_dims, start=0.3)


def cycle(seed: int, n: int = 2000, n_dims: int = 10) -> AnnData:
    """Cells that go round a circle, from which one arc leads out for good."""

    def pull(t: float, x: np.ndarray) -> np.ndarray:
        radius = np.hypot(x[:, 0], x[:, 1]).clip(1e-6)
        out = radius > 1.6
        turn = 1.2 * np.column_stack([-x[:, 1], x[:, 0]]) / radius[:, None]
        back = (1.0 - radius)[:, None] * x[:, :2] / radius[:, None]
        angle = np.arctan2(x[:, 1], x[:, 0])
        gate = np.exp(-((angle / 0.5) ** 2))[:, None]
        away = 1.2 * np.array([1.0, 0.0])
        inside = turn + 3.0 * (1.0 - gate) * back + gate * away * 0.7
        leaving = 1.5 * (np.array([3.0, 0.0]) - x[:, :2])
        return np.where(out[:, None], leaving, inside)

    def grow(t: float, x: np.ndarray) -> np.ndarray:
        return np.where(np.hypot(x[:, 0], x[:, 1]) > 1.6, 0.0, 0.3)

    def fate(x: np.ndarray) -> np.ndarray:
        return (np.hypot(x[:, 0], x[:, 1]) > 1.6).astype(int)

    return population(seed, pull, grow, fate, STATES["cycle with an exit"], n, n_dims, start=None)


def population(
    seed: int,
    pull: Callable,
    grow: Callable,
    fate: Callable,
    names: list[str],
    n: int,
    n_dims: int,
    *,
    start: float | None,
    sigma: float = 0.35,
    dt: float = 0.05,
) -> AnnData:
    """Simulate a growing population, sample it at five times, and continue every cell."""
    rng = np.random.default_rng(seed)

    def move(t: float, x: np.ndarray) -> np.ndarray:
        return x + dt * pull(t, x) + sigma * np.sqrt(dt) * rng.standard_normal(x.shape)

    if start is None:  # on the far side of the circle
        angle = rng.normal(np.pi, 0.4, 4000)
        x = np.column_stack([np.cos(angle), np.sin(angle)])
        x += 0.1 * rng.standard_normal(x.shape)
    else:
        x = start * rng.standard_normal((4000, 2))
    clouds, sizes, steps = [x], [len(x)], round(1 / dt)
    for k in range(4):
        for i in range(steps):
            t = k + i * dt
            born = rng.random(len(x)) < dt * grow(t, x)
            x = move(t, np.concatenate([x, x[born]]))
        clouds.append(x)
        sizes.append(len(x))
    counts = np.diff(np.round(n * np.cumsum(np.array(sizes) / sum(sizes))).astype(int), prepend=0)
    parts = [c[rng.choice(len(c), m, replace=False)] for c, m in zip(clouds, counts, strict=True)]
    truth, rate = [], []
    for k, part in enumerate(parts):
        particles, log_w = np.repeat(part, 256, axis=0), np.zeros(256 * len(part))
        for i in range((4 - k) * steps):
            log_w += dt * grow(k + i * dt, particles)
            particles = move(k + i * dt, particles)
        mass = np.exp(log_w)[:, None] * np.eye(len(names))[fate(particles)]
        mass = mass.reshape(len(part), 256, -1).sum(1)
        truth.append(mass / mass.sum(1, keepdims=True))
        rate.append(grow(float(k), part))
    core = np.concatenate(parts)
    noise = sigma * rng.standard_normal((len(core), n_dims - 2))
    turn = np.linalg.qr(rng.standard_normal((n_dims, n_dims)))[0]
    obs = pd.DataFrame(
        {
            "time": np.repeat(np.arange(5.0), counts),
            "cell_type": np.array(names)[fate(core)],
            "growth_true": np.concatenate(rate),
        },
        index=[f"cell{i}" for i in range(len(core))],
    )
    adata = AnnData(obs=obs, obsm={"X_sim": (np.hstack([core, noise]) @ turn).astype(np.float32)})
    adata.obsm["fate_true"] = np.concatenate(truth)
    adata.uns["mass"] = dict(zip(range(5), map(float, sizes), strict=True))
    return adata


def still(seed: int, n: int = 1000) -> AnnData:
    """Two populations that stay where they are; one grows by 0.5 per unit of time."""
    rng = np.random.default_rng(seed)
    rates = np.array([0.5, 0.0])
    time = np.repeat(np.arange(4.0), n // 4)
    share = np.exp(rates[0] * time) / (np.exp(rates[0] * time) + 1)
    kind = (rng.random(len(time)) > share).astype(int)
    x = rng.standard_normal((len(time), 5)) + 8.0 * np.eye(5)[0] * kind[:, None]
    obs = pd.DataFrame(
        {"time": time, "cell_type": np.array(["A", "B"])[kind], "growth_true": rates[kind]},
        index=[f"cell{i}" for i in range(len(time))],
    )
    adata = AnnData(obs=obs, obsm={"X_sim": x.astype(np.float32)})
    adata.obsm["fate_true"] = np.eye(2)[kind]
    adata.uns["mass"] = {t: 1000 * (np.exp(0.5 * t) + 1) for t in range(4)}
    return adata


def make(data: str, seed: int) -> AnnData:
    """Return one data set with populations and truth."""
    if data in BRANCHING:
        adata = scruot.datasets.branching(
            2000, n_continue=256, dt=0.05, random_state=seed, **BRANCHING[data]
        )
        population = adata.uns["truth"]["population"]
        adata.uns["mass"] = dict(zip(population["time"], population["size"], strict=True))
        return adata
    return {"three-way fork": fork, "cycle with an exit": cycle, "growth alone": still}[data](seed)


def score(adata: AnnData, growth: np.ndarray) -> dict[str, float]:
    """Return correlation, skill and more for early cells and the third time."""
    time, truth = adata.obs["time"].to_numpy(), adata.obsm["fate_true"]
    guess = adata.obsm["fate_probabilities"].to_numpy()
    times = np.unique(time)

    def at(rows: np.ndarray) -> tuple[float, float]:
        p, q = guess[rows], truth[rows]
        r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
        return float(r), float(1 - ((p - q) ** 2).sum() / ((q - q.mean(0)) ** 2).sum())

    early, third = at(time <= times[1]), at(time == times[2])
    majority = truth[time <= times[1]].argmax(1)
    area = [
        roc_auc_score(majority == k, guess[time <= times[1], k])
        for k in range(truth.shape[1])
        if 0 < (majority == k).mean() < 1
    ]
    before = time < times[-1]
    true = adata.obs["growth_true"].to_numpy()[before]
    slope = np.polyfit(true, growth[before], 1)[0] if true.std() else np.nan
    return {
        "r": early[0],
        "skill": early[1],
        "AUROC": float(np.mean(area)),
        "r third": third[0],
        "skill third": third[1],
        "growth error": float(np.sqrt(np.mean((growth[before] - true) ** 2))),
        "constant": float(true.std()),
        "slope": float(slope),
    }


def run(data: str, method: str, seed: int) -> dict[str, float]:
    """Fit, follow, and score; CPU seconds are those of the fates alone."""
    adata = make(data, seed)
    mass = adata.uns.pop("mass")
    solver, _, how = method.partition(" ")
    begin = time.process_time()
    if solver == "transport":
        scruot.tl.transport(
            adata, "fate", groupby="cell_type", use_rep="X_sim", mass=mass, progress=False
        )
        scruot.tl.fate_probabilities(adata, "cell_type", source="transport")
        rates = pd.concat(scruot.get.transport(adata).rates())
        growth = rates.reindex(adata.obs_names).to_numpy()
    else:
        scruot.tl.fit_dynamics(adata, solver, use_rep="X_sim", mass=mass, progress=False)
        begin = time.process_time()
        scruot.tl.fate_probabilities(adata, "cell_type", stochastic=False if how else None)
        growth = adata.obs["growth"].to_numpy()
    spent = time.process_time() - begin
    found = {**score(adata, growth), "cosine": np.nan, "CPU s": spent}
    if data in BRANCHING and solver != "transport":
        found["cosine"] = cosine(adata.obsm["velocity_sim"], current_velocity(adata))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data", nargs="+", default=[*BRANCHING, *OTHERS])
    parser.add_argument("--methods", nargs="+", default=["transport", "wfrfm"])
    parser.add_argument("--one", nargs=3, metavar=("DATA", "METHOD", "SEED"))
    parser.add_argument("--cache", type=Path, help="file of results, one a line")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.one:
        data, method, seed = given.one
        print(json.dumps(run(data, method, int(seed))))
        return
    rows = []
    known = {}
    if given.cache and given.cache.exists():
        lines = [json.loads(line) for line in given.cache.read_text().splitlines()]
        known = {(r["data"], r["method"], r["seed"]): r for r in lines}
    for data in given.data:
        for method in given.methods:
            for seed in given.seeds:
                row = known.get((data, method, seed))
                if row is None:
                    call = [sys.executable, __file__, "--one", data, method, str(seed)]
                    done = subprocess.run(call, check=True, capture_output=True, text=True)
                    figures = json.loads(done.stdout.splitlines()[-1])
                    row = {"data": data, "method": method, "seed": seed, **figures}
                    if given.cache:
                        with given.cache.open("a") as file:
                            file.write(json.dumps(row) + "\n")
                rows.append(row)
    text = table(pd.DataFrame(rows))
    print(text)
    if given.output:
        given.output.write_text(text)


def table(rows: pd.DataFrame) -> str:
    """Return mean and range over seeds."""
    columns = [c for c in rows.columns if c not in ("data", "method", "seed", "constant")]
    header = ["data", "carried by", *columns]
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] * len(header)) + " |"]
    for (data, method), part in rows.groupby(["data", "method"], sort=False):
        cells = [data, f"`{method}`"]
        for column in columns:
            value = part[column]
            if value.isna().all():
                cells.append("-")
                continue
            text = f"{value.mean():.2f}"
            if column != "CPU s" and len(value) > 1:
                text += f" ({value.min():.2f} to {value.max():.2f})"
            if column == "growth error":
                text += f"; constant {part['constant'].mean():.2f}"
            cells.append(text)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
