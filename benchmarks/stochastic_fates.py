"""Why a simulated stochastic model loses to the couplings of its own cells: one cause at a time.

    python benchmarks/stochastic_fates.py --seeds 1 2 3 --cache FILE

``datasets.branching`` in ten dimensions, true sizes given. 300 cells of the first two times are
carried to the last one by the exact law of the generator, of which one part after another is
replaced by what ``sf2m`` has learned, and by the chain of the plans that it was trained on; with
``--solver`` only what another learns by itself, and with the metric and noise of the rule. Ends
are judged by the generator's own rule, so that no classifier is involved. Figures: correlation per
fate, averaged, and skill, as in ``fates.py``.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from fates import make
from scipy.spatial import cKDTree
from scipy.special import xlogy

import scruot
from scruot.datasets._forks import N_CORE, Forks
from scruot.dynamics.model import Dynamics
from scruot.fates import absorb, automatic_plan, fate_settings
from scruot.transport import Chain, Penalty, couple

PARTICLES, DT, CELLS = 50, 0.1, 300
Rate = Callable[[float, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Law:
    """Drift and growth at a time and states, and noise per coordinate."""

    drift: Rate
    sigma: float | np.ndarray
    growth: Rate


def exact(adata: AnnData) -> tuple[Law, Callable[[np.ndarray], np.ndarray]]:
    """Return the law of the generator in ``X_sim``, and the fate of states."""
    truth = adata.uns["truth"]
    given, turn = truth["parameters"], truth["rotation"]
    law = Forks(
        tuple(given["growth_rates"]),
        given["bias"],
        given["turnover"],
        truth["sigma"],
        given["lean"],
    )

    def drift(t: float, x: np.ndarray) -> np.ndarray:
        plain = x @ turn
        rest = -given["relaxation"] * plain[:, N_CORE:]
        return np.hstack([law.drift(plain[:, :N_CORE]), rest]) @ turn.T

    def growth(t: float, x: np.ndarray) -> np.ndarray:
        return law.growth((x @ turn)[:, :N_CORE])

    return Law(drift, truth["sigma"], growth), lambda x: law.fate((x @ turn)[:, :N_CORE])


def learned(model: Dynamics, growth: Rate, *, sigma: float | None = None) -> Law:
    """Return a fitted law; with another ``sigma`` the drift has the same marginals under it."""
    noise = model.sigma if sigma is None else sigma

    def drift(t: float, x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float32)
        if sigma is None:
            return model.drift(t, x)
        return model.velocity(t, x) + 0.5 * sigma**2 * model.score(t, x)

    return Law(drift, noise, growth)


def ends(
    law: Callable[[float], Law], x: np.ndarray, start: float, stop: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return particles and log weights at ``stop``; ``law`` tells which law holds when."""
    rng = np.random.default_rng(seed)
    x, log_w = np.repeat(x, PARTICLES, axis=0), np.zeros(PARTICLES * len(x))
    for k in range(round((stop - start) / DT)):
        t = start + k * DT
        now = law(t)
        log_w += DT * now.growth(t, x)
        x = x + DT * now.drift(t, x) + now.sigma * np.sqrt(DT) * rng.standard_normal(x.shape)
    return x, log_w


def carried(adata: AnnData, law: Callable[[float], Law], fate: Callable, rows: np.ndarray) -> dict:
    """Return figures of the early cells."""
    time, x = adata.obs["time"].to_numpy(), adata.obsm["X_sim"].astype(np.float64)
    guess = np.zeros((len(x), 3))
    for t in np.unique(time[rows]):
        here = rows & (time == t)
        end, log_w = ends(law, x[here], float(t), float(time.max()), seed=int(t))
        mass = np.exp(log_w)[:, None] * np.eye(3)[fate(end)]
        guess[here] = mass.reshape(-1, PARTICLES, 3).sum(1)
    return figures(guess[rows], adata.obsm["fate_true"][rows])


def figures(guess: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return correlation, skill, the entropy of probabilities and that of the truth."""
    guess = guess / guess.sum(1, keepdims=True)
    r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(guess.T, truth.T, strict=True)])
    skill = 1 - ((guess - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()
    entropy = [-xlogy(p, p).sum(1).mean() / np.log(3) for p in (guess, truth)]
    return {"r": float(r), "skill": float(skill), "entropy": entropy[0], "true": entropy[1]}


def by_plans(adata: AnnData, plans: Chain, rows: np.ndarray) -> dict[str, float]:
    """Return figures of a chain of plans, ends judged as everywhere."""
    time = adata.obs["time"].to_numpy()
    cells = [np.flatnonzero(time == t) for t in np.unique(time)]
    last = adata.obsm["fate_true"][cells[-1]]
    shares = [*(np.zeros((len(c), 3)) for c in cells[:-1]), last]
    found = absorb(plans, [np.ones(len(c)) for c in cells], shares)
    guess = np.full((len(time), 3), np.nan)
    for c, mass in zip(cells, found.mass, strict=True):
        guess[c] = mass[:, :3]
    return figures(guess[rows], adata.obsm["fate_true"][rows])


def snapshots(x: np.ndarray, adata: AnnData, mass: dict) -> tuple[list, list, list[float]]:
    time = adata.obs["time"].to_numpy()
    times = [float(t) for t in np.unique(time)]
    xs = [torch.from_numpy(np.asarray(x[time == t], dtype=np.float64)) for t in times]
    weights = [
        torch.full((len(c),), mass[t] / len(c)).double() for c, t in zip(xs, times, strict=True)
    ]
    return xs, weights, times


def balanced(x: np.ndarray, adata: AnnData, mass: dict, sigma: float) -> Chain:
    """Return the plans that ``sf2m`` is trained on: balanced, with the entropy of its noise."""
    xs, _, times = snapshots(x, adata, mass)
    plans = []
    for k, (one, two) in enumerate(pairwise(xs)):
        a, b = (torch.full((len(c),), 1 / len(c)).double() for c in (one, two))
        reg = 2 * sigma**2 * (times[k + 1] - times[k])
        exact = Penalty("exact")
        plans.append(couple(one, two, a, b, source=exact, target=exact, reg=reg).to_scipy())
    return Chain(plans)


def run(seed: int, solver: str) -> dict[str, dict[str, float]]:
    """Return figures of every way."""
    adata = make("10-d", seed)
    mass = adata.uns.pop("mass")
    x, time = adata.obsm["X_sim"], adata.obs["time"].to_numpy()
    early = np.flatnonzero(time <= 1)
    chosen = np.random.default_rng(seed).choice(early, CELLS, replace=False)
    rows = np.isin(np.arange(len(x)), chosen)
    law, fate = exact(adata)
    none = lambda t, x: np.zeros(len(x))  # noqa: E731

    def fitted(name: str, **options: object) -> Dynamics:
        scruot.tl.fit_dynamics(adata, solver, use_rep=name, mass=mass, progress=False, **options)
        return scruot.get.dynamics(adata)

    model = fitted("X_sim")
    grows = model.growth if "growth" in model.learns else none
    found = {"sigma": {"r": float(np.mean(model.sigma)), "skill": np.nan}}
    own, right = learned(model, grows), law.sigma
    ways = {
        "exact": law,
        "exact, growth left out": Law(law.drift, right, none),
        "exact drift, learned noise": Law(law.drift, model.sigma, law.growth),
        "learned": own,
        "learned, true growth": learned(model, law.growth),
        "learned drift, true noise, true growth": Law(own.drift, right, law.growth),
        "learned marginals, true noise, true growth": learned(model, law.growth, sigma=right),
    }
    if solver != "sf2m":  # what it does by itself is enough
        ways = {"learned": own}
    for name, way in ways.items():
        found[name] = carried(adata, lambda t, way=way: way, fate, rows)
    for k in range(4 if solver == "sf2m" else 0):
        within = learned(model, law.growth)
        mixed = lambda t, k=k, w=within: w if k - 1e-9 < t < k + 1 - 1e-9 else law  # noqa: E731
        found[f"learned from {k} to {k + 1} only, true growth"] = carried(adata, mixed, fate, rows)
    if solver == "sf2m":
        found["plans it was trained on"] = by_plans(
            adata, balanced(x, adata, mass, float(model.sigma)), rows
        )
        found["plans, with the true noise"] = by_plans(adata, balanced(x, adata, mass, right), rows)
    model = fitted("X_sim", sigma=right)
    own = learned(model, model.growth if "growth" in model.learns else none)
    found["learned, fitted with the true noise"] = carried(adata, lambda t: own, fate, rows)
    codes = adata.obs["cell_type"].cat.codes.to_numpy()
    clouds = snapshots(x, adata, mass)
    at_end = [np.where(time == 4, codes, -1)[time == t] for t in clouds[2]]
    settings = fate_settings(*clouds, at_end)
    found["plans of the rule"] = by_plans(
        adata, automatic_plan(*clouds, states=at_end, settings=settings).chain, rows
    )
    # the same where distance and noise are those of the rule
    flat = x.astype(np.float64) @ settings.metric.numpy()
    noise = float(np.sqrt(settings.reg[0] / 2))
    if solver == "sf2m":
        found["plans, metric and noise of the rule, balanced"] = by_plans(
            adata, balanced(flat, adata, mass, noise), rows
        )
    adata.obsm["X_rule"] = flat.astype(np.float32)
    model = fitted("X_rule", sigma=noise)
    own = learned(model, model.growth if "growth" in model.learns else none)
    adata.obsm["X_sim"] = adata.obsm["X_rule"]
    found["learned, metric and noise of the rule"] = carried(
        adata, lambda t: own, nearest(adata), rows
    )
    return found


def nearest(adata: AnnData) -> Callable[[np.ndarray], np.ndarray]:
    """Return the fate of states as that of the nearest last cell."""
    last = adata.obs["time"].to_numpy() == 4
    fates = adata.obsm["fate_true"][last].argmax(1)
    tree = cKDTree(adata.obsm["X_sim"][last])
    return lambda x: fates[tree.query(x)[1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--solver", default="sf2m")
    parser.add_argument("--one", type=int)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(run(given.one, given.solver)), flush=True)
        return
    rows = []
    for seed in given.seeds:
        call = [sys.executable, __file__, "--one", str(seed), "--solver", given.solver]
        done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows += [{"seed": seed, "way": way, **value} for way, value in found.items()]
        if given.cache:
            with given.cache.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows if row["seed"] == seed)
    table = pd.DataFrame(rows).groupby("way", sort=False)[["r", "skill", "entropy", "true"]].mean()
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
