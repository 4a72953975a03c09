"""A two-branch toy whose velocity, growth, simulation and evaluation are written by hand."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from scruot.io.displacement import Ranked, genes_record

TIMES = (0.0, 1.0, 2.0, 4.0)
MASSES = {0.0: 1.0, 1.0: 1.2, 2.0: 1.5, 4.0: 2.0}


def branch_position(t, side):
    """Return the middle of a branch: together until time 1, then apart."""
    return np.stack([2.0 * t, side * np.clip(t - 1.0, 0.0, None)], axis=-1)


def branch_velocity(t, side):
    return np.stack([np.full_like(t, 2.0), np.where(t >= 1.0, side, 0.0)], axis=-1)


@pytest.fixture
def toy(rng):
    """Return 400 cells at four times in three dimensions, fitted, evaluated."""
    n = 400
    t = rng.choice(TIMES, n)
    side = rng.choice([-1.0, 1.0], n)
    noise = rng.normal(0, 0.25, (n, 2))
    planar = branch_position(t + noise[:, 0], side) + np.array([0.0, 1.0]) * noise
    third = rng.normal(0, 0.1, (n, 1))
    adata = AnnData(np.zeros((n, 1), dtype=np.float32))
    adata.obs["time"] = t
    adata.obs["day"] = [f"day {v:g}" for v in t]
    adata.obs["branch"] = pd.Categorical(np.where(side > 0, "upper", "lower"))
    adata.obs["score"] = side * t
    adata.obs["growth"] = np.where(side > 0, 0.4, -0.1) * (1 + 0.1 * noise[:, 1])
    adata.obs["potential"] = adata.obs["growth"] * 2
    adata.obsm["X_pca"] = np.hstack([planar, third]).astype(np.float32)
    velocity = np.hstack([branch_velocity(t, side), np.zeros((n, 1))])
    adata.obsm["velocity_pca"] = velocity.astype(np.float32)
    adata.obsm["X_umap"] = planar[:, ::-1].astype(np.float32)
    steps = np.arange(1, 201)
    decay = np.exp(-steps / 60) + 0.05
    adata.uns["dynamics"] = {
        "method": "wfrfm",
        "params": {"time_key": "time", "n_dims": "null"},
        "representation": {"use_rep": "X_pca", "n_dims": 3},
        "weights": {},
        "spec": "{}",
        "history": {
            "step": steps,
            "loss": decay * rng.uniform(0.7, 1.4, 200),
            "velocity": 0.8 * decay * rng.uniform(0.7, 1.4, 200),
            "off": np.zeros(200),
            "validation_step": steps[19::20],
            "validation": 1.1 * decay[19::20],
        },
    }
    adata.uns["dynamics_evaluation"] = evaluation(adata, rng)
    adata.uns["lineage_mass"] = lineage_table()
    adata.uns["perturbation"] = perturbation_table()
    adata.uns["landscape"] = valleys()
    adata.uns["dynamics_diagnosis"] = diagnosis()
    adata.uns["gene_trends"] = trends_table()
    couple(adata)
    displace(adata)
    decide(adata, rng)
    regulate(adata)
    return adata


def valleys():
    """Return a landscape of one normal law that moves to the right and doubles."""
    x, y, times = np.linspace(-1, 9, 25), np.linspace(-4, 4, 21), np.array(TIMES)
    away = np.stack([(x - 2 * t)[None] ** 2 + y[:, None] ** 2 for t in times])
    mass = np.array([MASSES[t] for t in TIMES])[:, None, None]
    return {
        "height": away / 2 + np.log(2 * np.pi) - np.log(mass),
        "times": times,
        "x": x,
        "y": y,
        "basis": "pca",
        "components": np.array([1, 2]),
        "source": "cells",
        "grid_source": "cells",
    }


def diagnosis():
    """Return one check of each verdict."""
    nan = np.nan
    return pd.DataFrame(
        [
            ("observed cells", 0.8, 1.25, 2.0, "good", "W1 is 0.80 times the noise", ""),
            ("population", 0.2, 0.05, 0.3, "doubtful", "off by 20 %", "train longer"),
            ("fates", 0.9, 0.1, 0.5, "bad", "most of them end nowhere", "name more states"),
            ("held-out times", nan, nan, nan, "not checked", "none was left out", "fit again"),
        ],
        columns=["check", "value", "good", "bad", "verdict", "finding", "remedy"],
    )


def lineage_table():
    """Return predicted populations at eight times, observed ones at four of them."""
    rows = [
        {
            "time": t,
            "group": name,
            "mass": part * np.exp(rate * t),
            "mass_se": 0.05 * part,
            "share": part,
            "mass_observed": 1.1 * part * np.exp(rate * t) if t in TIMES else np.nan,
            "mass_observed_se": 0.04 * part if t in TIMES else np.nan,
            "share_observed": part if t in TIMES else np.nan,
        }
        for t in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
        for name, part, rate in (("lower", 0.3, -0.1), ("upper", 0.7, 0.25))
    ]
    return {"table": pd.DataFrame(rows), "groupby": "branch", "time_key": "time"}


def perturbation_table():
    """Return two perturbations of two groups; only the first is significant."""
    rows = [
        {
            "perturbation": name,
            "group": group,
            "share_change": sign * change,
            "share_change_se": 0.02,
            "qval": qval,
            "mass_log2fc": 3 * sign * change,
            "mass_log2fc_se": 0.05,
            "mass_qval": qval,
        }
        for name, change, qval in (("Gata1 +1", 0.3, 1e-6), ("Spi1 -1", 0.01, 0.6))
        for group, sign in (("lower", -1), ("upper", 1))
    ]
    return {"table": pd.DataFrame(rows), "groupby": "branch"}


def displace(adata):
    """Write a displacement of the only gene: up in the upper branch, down in the lower."""
    sign = np.where(adata.obs["branch"] == "upper", 1.0, -1.0)
    moved = np.where(adata.obs["time"] < TIMES[-1], sign, 0.0)
    adata.obsm["displacement"] = csr_matrix(moved[:, None])
    one = np.ones(1)
    ranked = [
        Ranked(
            f"{start:g}", f"{end:g}", name, 5 * way * one, way * one, 0.01 * one, 0.01 * one, one
        )
        for start, end in pairwise(TIMES)
        for name, way in (("lower", -1.0), ("upper", 1.0))
    ]
    params = {"groupby": "branch", "time_key": "time", "use_rep": "X_pca"}
    adata.uns["displacement_genes"] = genes_record(ranked, adata.var_names, params)
    path = pd.DataFrame(
        {"strength": [0.1, 1.0, 3.0], "dimension": [9.0, 4.0, 1.0], "distance": [1.0, 1.2, 1.9]}
    )
    adata.uns["sparsity_path"] = {
        "table": path.assign(relative=path["distance"] / 2.0, floor=0.9),
        "source": "0",
        "target": "1",
        "method": "elastic",
        "penalty": "l1",
    }


def trends_table():
    """Return one gene along twenty times, for two fates."""
    time = np.linspace(0, 4, 20)
    curves = [
        pd.DataFrame(
            {
                "gene": "Gata1",
                "lineage": lineage,
                "time": time,
                "mean": slope * time,
                "lower": slope * time - 0.2,
                "upper": slope * time + 0.2,
            }
        )
        for lineage, slope in (("lower", -1.0), ("upper", 1.0))
    ]
    return {"table": pd.concat(curves, ignore_index=True), "groupby": "branch", "time": "time"}


def decide(adata, rng):
    """Write three fates, sure in the end, and how often they came true."""
    branch, time = adata.obs["branch"].to_numpy(), adata.obs["time"].to_numpy()
    end = np.where(branch == "lower", 0, np.where(adata.obsm["X_pca"][:, 2] > 0, 1, 2))
    sure = (time / TIMES[-1])[:, None]
    p = sure * np.eye(3)[end] + (1 - sure) / 3
    p[:5] = np.nan
    names = ["low", "high", "top"]
    adata.obsm["fate_probabilities"] = pd.DataFrame(p, index=adata.obs_names, columns=names)
    best = np.where(np.isnan(p).any(1), -1, end)
    adata.obs["fate"] = pd.Categorical.from_codes(best, categories=names)
    adata.uns["fates"] = {
        "names": np.array(names, dtype=object),
        "source": "transport",
        "params": {},
        "times": np.array([4.0]),
        "use_rep": "X_pca",
        "time_key": "time",
    }
    rows = [
        (name, low, low + 0.25, low + 0.1, low + 0.1 + rng.normal(0, 0.02), 0.02, 40)
        for name in names
        for low in (0.0, 0.25, 0.5, 0.75)
    ]
    columns = ["fate", "low", "high", "predicted", "observed", "se", "n_cells"]
    adata.uns["fate_calibration"] = {
        "table": pd.DataFrame(rows, columns=columns),
        "scores": {"skill": 0.8, "brier": 0.1, "calibration_error": 0.02, "r": 0.9},
    }


def regulate(adata):
    """Write a gene that goes with two of three fates, and two genes that repress each other."""
    table = {}
    for fate, corr in (("low", -0.5), ("high", 0.4), ("top", 0.1)):
        numbers = (corr, 1e-3 if abs(corr) > 0.2 else 0.2, 1e-2, corr - 0.1, corr + 0.1)
        for kind, value in zip(("corr", "pval", "qval", "ci_low", "ci_high"), numbers, strict=True):
            table[f"{fate}_{kind}"] = [value]
    adata.varm["driver_genes"] = pd.DataFrame(table, index=adata.var_names)
    effect = np.array([[-2.0, -1.0], [-0.5, -2.0]])
    adata.uns["regulatory_jacobian"] = {
        "genes": np.array(["Gata1", "Spi1"], dtype=object),
        "groups": np.array(["0", "1"], dtype=object),
        "n_cells": np.array([100, 100]),
        "matrices": {"0": csr_matrix(effect), "1": csr_matrix(-effect)},
        "groupby": "time",
        "quantity": "velocity",
    }


def couple(adata):
    """Write couplings within each branch: every cell descends from all of its branch alike."""
    time, branch = adata.obs["time"].to_numpy(), adata.obs["branch"].to_numpy()
    rows = [np.flatnonzero(time == t) for t in TIMES]
    couplings = {}
    for k, (start, end) in enumerate(pairwise(rows)):
        same = branch[start][:, None] == branch[end]
        couplings[str(k)] = csr_matrix(same / same.sum(axis=0))
    adata.uns["transport"] = {
        "method": "wfr",
        "params": {"time_key": "time", "use_rep": "X_pca"},
        "times": np.array(TIMES),
        "cells": {str(k): adata.obs_names[r].to_numpy() for k, r in enumerate(rows)},
        "mass": {str(k): np.ones(len(r)) for k, r in enumerate(rows)},
        "couplings": couplings,
        "quality": pd.DataFrame(),
    }
    groups = np.array(["lower", "upper"], dtype=object)
    count = {(t, g): float(((time == t) & (branch == g)).sum()) for t in TIMES for g in groups}
    flow = [
        (start, end, g, g, count[end, g], count[start, g])
        for start, end in pairwise(TIMES)
        for g in groups
    ]
    adata.uns["transition_table"] = {
        "forward": np.eye(2),
        "backward": np.eye(2),
        "mass": np.diag([count[4.0, g] for g in groups]),
        "source_groups": groups,
        "target_groups": groups,
        "source_time": 0.0,
        "target_time": 4.0,
        "groupby": "branch",
        "flow": pd.DataFrame(
            flow, columns=["start", "end", "source", "target", "mass", "mass_start"]
        ),
        "population": pd.DataFrame(
            [(t, g, mass) for (t, g), mass in count.items()], columns=["time", "group", "mass"]
        ),
    }
    upper = (branch == "upper").astype(float)
    adata.obs["descendants"] = np.where(time >= 1, upper, np.nan)
    share = np.where(time == 2, 1.0, 0.75)
    adata.obs["ancestors"] = np.where(time <= 2, share * upper, np.nan)


def evaluation(adata, rng):
    rows = [
        {
            "time": t,
            "comparison": comparison,
            "split": "held-out time" if t == 2.0 else "observed",
            "w1": w1 * (1 + t),
            "mass": MASSES[t] * (1.03 if comparison == "model" else np.nan),
            "mass_observed": MASSES[t],
        }
        for t in TIMES[1:]
        for comparison, w1 in (("previous", 0.5), ("model", 0.04), ("noise floor", 0.03))
    ]
    cells = {"time": 1.0, "comparison": "model", "split": "held-out cells", "w1": 9.0}
    groups = [
        {
            "time": t,
            "group": name,
            "mass": part * MASSES[t],
            "mass_observed": 1.1 * part * MASSES[t],
        }
        for t in TIMES[1:]
        for name, part in (("lower", 0.3), ("upper", 0.7))
    ]
    time = np.repeat(TIMES[1:], 100)
    side = rng.choice([-1.0, 1.0], len(time))
    noise = rng.normal(0, 0.25, (len(time), 2))
    x = branch_position(time + noise[:, 0], side) + np.array([0.0, 1.0]) * noise
    return {
        "table": pd.DataFrame([*rows, cells]),
        "groups": pd.DataFrame(groups),
        "simulated": {
            "x": np.hstack([x, np.zeros((len(x), 1))]),
            "time": time,
            "weight": rng.uniform(0.5, 2.0, len(x)),
        },
    }


@pytest.fixture
def simulation():
    """Return twelve simulated trajectories of nine times each; half grow, half shrink."""
    t = np.linspace(0, 4, 9)
    side = np.repeat([-1.0, 1.0], 6)
    x = np.stack([branch_position(t, s) for s in side])
    weight = np.exp(0.3 * side[:, None] * t) / 12
    # Time by time, so that the rows of one trajectory do not lie together.
    x = x.transpose(1, 0, 2).reshape(-1, 2)
    adata = AnnData(np.zeros((len(x), 1), dtype=np.float32))
    adata.obs["time"] = np.repeat(t, 12)
    adata.obs["weight"] = weight.T.ravel()
    adata.obs["trajectory"] = np.tile(np.arange(12), 9)
    adata.obs["start_cell"] = np.tile([f"cell{i}" for i in range(12)], 9)
    adata.obsm["X_pca"] = np.hstack([x, np.zeros((len(x), 1))]).astype(np.float32)
    adata.uns["simulation"] = {"key": "dynamics", "method": "wfrfm", "use_rep": "X_pca"}
    return adata
