"""Displacement genes: the default beside the simple estimators, on two kinds of data.

``python benchmarks/displacement.py --cache FOLDER -o docs/_displacement.md`` writes the tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score

import scruot
from scruot.displacement.averages import row_stochastic
from scruot.displacement.metric import couple_clouds

TAIL = 0.97  # quantile over cells that ranks a gene, for all estimators alike
JUMPING = {
    "Gaussian": {"kind": "jumping"},
    "counts, composition": {"kind": "jumping", "noise": "counts", "composition": True},
    "continuum, counts": {"kind": "continuum", "noise": "counts", "composition": True},
    "null, Gaussian": {"kind": "jumping", "effect": 0.0, "composition": True},
    "null, counts": {"kind": "jumping", "effect": 0.0, "composition": True, "noise": "counts"},
}
GRADUAL = {"no growth": 0.0, "growth 2.7-fold": 1.0}


def snapshots(adata: AnnData) -> list:
    """Return genes, representation and rows of each time."""
    times = adata.obs["time"].to_numpy()
    return [np.flatnonzero(times == t) for t in np.unique(times)]


def plain_plans(adata: AnnData) -> list[csr_matrix]:
    """Couple in the components as they are, unbalanced: what the simple estimators have."""
    z = adata.obsm["X_pca"].astype(float)
    rows = snapshots(adata)
    plans = []
    for start, end in pairwise(rows):
        mass = [np.ones(len(r)) for r in (start, end)]
        plans.append(couple_clouds(z[start], z[end], *mass, reg=0.02, tau=0.1))
    return plans


def barycentric(adata: AnnData) -> list[np.ndarray]:
    """Return mean targets minus the cell, in genes."""
    rows = snapshots(adata)
    return [
        row_stochastic(p) @ adata.X[rows[k + 1]] - adata.X[rows[k]]
        for k, p in enumerate(plain_plans(adata))
    ]


def loadings(adata: AnnData) -> list[np.ndarray]:
    """Return the displacement of 30 components, carried back by their loadings."""
    pca = PCA(30, svd_solver="randomized", random_state=0).fit(adata.X)
    z = pca.transform(adata.X)
    rows = snapshots(adata)
    return [
        (row_stochastic(p) @ z[rows[k + 1]] - z[rows[k]]) @ pca.components_
        for k, p in enumerate(plain_plans(adata))
    ]


def mean_difference(adata: AnnData) -> list[np.ndarray]:
    """Return the difference of the means for every cell."""
    rows = snapshots(adata)
    return [
        np.tile(adata.X[b].mean(0) - adata.X[a].mean(0), (len(a), 1)) for a, b in pairwise(rows)
    ]


def rank_sum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Wilcoxon's z score of every gene."""
    n, m = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]), axis=0)[:n].sum(0)
    return -(ranks - n * (n + m + 1) / 2) / np.sqrt(n * m * (n + m + 1) / 12)


def wilcoxon(adata: AnnData) -> list[np.ndarray]:
    """Return the global test for every cell."""
    rows = snapshots(adata)
    return [np.tile(rank_sum(adata.X[a], adata.X[b]), (len(a), 1)) for a, b in pairwise(rows)]


def clustered(k: int) -> Callable:
    """Return the tests within clusters of both times."""

    def test(adata: AnnData) -> list[np.ndarray]:
        found = []
        rows = snapshots(adata)
        for a, b in pairwise(rows):
            both = np.concatenate([a, b])
            means = KMeans(k, n_init=1, random_state=0).fit(adata.obsm["X_pca"][both])
            left, right = means.labels_[: len(a)], means.labels_[len(a) :]
            score = np.zeros((len(a), adata.n_vars))
            for cluster in range(k):
                i, j = left == cluster, right == cluster
                if i.sum() > 3 and j.sum() > 3:
                    score[i] = rank_sum(adata.X[a[i]], adata.X[b[j]])
            found.append(score)
        return found

    return test


def default(adata: AnnData) -> list[np.ndarray]:
    """Return the displacements of ``tl.sparse_displacement``."""
    group = "lineage" if "lineage" in adata.obs else None
    scruot.tl.sparse_displacement(adata, groupby=group)
    moved = adata.obsm["displacement"]
    return [moved[r].toarray() for r in snapshots(adata)[:-1]]


ESTIMATORS = {
    "mean difference": mean_difference,
    "Wilcoxon, global": wilcoxon,
    "Wilcoxon in 8 clusters": clustered(8),
    "Wilcoxon in 16 clusters": clustered(16),
    "loadings of 30 PCs": loadings,
    "barycentric, genes": barycentric,
    "default": default,
}


def true_moves(adata: AnnData) -> list[np.ndarray]:
    """Return which genes move in which cells, of every time but the last."""
    moves = adata.layers["displacement_true"]
    return [moves[r].toarray() != 0 for r in snapshots(adata)[:-1]]


def score_jumping(name: str, adata: AnnData, found: list[np.ndarray]) -> dict:
    """Return average precision over genes and pairs, and what was called."""
    truth, size = true_moves(adata)[0], np.abs(found[0])
    genes = truth.any(axis=0)
    rank = np.quantile(size, TAIL, axis=0)
    row: dict = {}
    if name == "default":
        called = adata.var["displaced"].to_numpy()
        rank = adata.var["displacement_score"].to_numpy()
        row["called"] = int(called.sum())
        if genes.any():
            row["precision"] = genes[called].mean() if called.any() else np.nan
            row["recall"] = called[genes].mean()
    if genes.any():
        row["AP genes"] = average_precision_score(genes, rank)
        row["AP pairs"] = average_precision_score(truth.ravel(), size.ravel())
    return row


def score_gradual(name: str, adata: AnnData, found: list[np.ndarray]) -> dict:
    """Return average precision for each lineage, of its mean displacement over all times."""
    truth, moved = np.concatenate(true_moves(adata)), np.concatenate(found)
    rows = np.concatenate(snapshots(adata)[:-1])
    lineage = adata.obs["lineage"].to_numpy()[rows]
    row: dict = {"AP pairs": average_precision_score(truth.ravel(), np.abs(moved).ravel())}
    precision, wrong, ranked, strange = [], [], [], []
    for own, other in (("A", "B"), ("B", "A")):
        size = np.abs(moved[lineage == own].mean(axis=0))
        genes = (adata.var["lineage"] == own).to_numpy()
        top = np.argsort(-size, kind="stable")[:30]
        precision.append(average_precision_score(genes, size))
        wrong.append((adata.var["lineage"] == other).to_numpy()[top].mean())
        if name == "default":
            table = scruot.get.displacement_genes_df(adata, own)
            score = table.groupby("gene")["scores"].mean().abs().reindex(adata.var_names).to_numpy()
            ranked.append(average_precision_score(genes, score))
            best = np.argsort(-score, kind="stable")[:30]
            strange.append((adata.var["lineage"] == other).to_numpy()[best].mean())
    row |= {"AP lineage": min(precision), "other lineage in top 30": max(wrong)}
    if ranked:
        row |= {"AP table": min(ranked), "other in top 30 of table": max(strange)}
    return row


def measured(
    name: str, label: str, seed: int, make: Callable[[], AnnData], score: Callable, cache: Path
) -> dict:
    """Return one row, from the cache where it is there."""
    path = cache / f"{label}-{name}-{seed}.json".replace(" ", "_")
    if path.exists():
        return json.loads(path.read_text())
    adata = make()
    start = time.process_time()
    found = ESTIMATORS[name](adata)
    spent = time.process_time() - start
    row = {"data": label, "estimator": name, "seed": seed, **score(name, adata, found)}
    row = {k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()}
    row["CPU s"] = spent
    path.write_text(json.dumps(row))
    print(row, flush=True)
    return row


def run(seeds: list[int], only: list[str], cache: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per data set, estimator and seed, of both kinds."""
    generate = scruot.datasets.sparse_displacement
    jumping, gradual = [], []
    for seed in seeds:
        for name in only or ESTIMATORS:
            for label, options in JUMPING.items():
                if "null" not in label or name == "default":
                    make = partial(generate, **options, random_state=seed)
                    jumping.append(measured(name, label, seed, make, score_jumping, cache))
            for label, growth in GRADUAL.items():
                make = partial(
                    generate, "gradual", 300, n_genes=2000, growth=growth, random_state=seed
                )
                gradual.append(measured(name, label, seed, make, score_gradual, cache))
    tables = [pd.DataFrame(rows) for rows in (jumping, gradual)]
    for table in tables:
        table["data"] = pd.Categorical(table["data"], [*JUMPING, *GRADUAL])
        table["estimator"] = pd.Categorical(table["estimator"], list(ESTIMATORS))
    return tables[0], tables[1]


def summary(table: pd.DataFrame) -> str:
    """Return means over seeds with their ranges, as Markdown."""
    lines = []
    columns = [c for c in table.columns if c not in {"data", "estimator", "seed"}]
    lines.append("| data | estimator | " + " | ".join(columns) + " |")
    lines.append("| --- " * (len(columns) + 2) + "|")
    for (data, name), part in table.groupby(["data", "estimator"], observed=True):
        cells = []
        for column in columns:
            values = part[column].dropna().to_numpy(dtype=float)
            digits = 0 if column == "called" else 1 if column == "CPU s" else 2
            if len(values) == 0:
                cells.append("")
            elif column == "CPU s" or len(values) == 1 or np.ptp(values) < 0.5 * 10**-digits:
                cells.append(f"{values.mean():.{digits}f}")
            else:
                mean, low, high = (
                    f"{v:.{digits}f}" for v in (values.mean(), values.min(), values.max())
                )
                cells.append(f"{mean} ({low}-{high})")
        lines.append(f"| {data} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--cache", type=Path, required=True, help="folder of finished rows")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    jumping, gradual = run(given.seeds, given.only, given.cache)
    text = f"### Cells that jump\n\n{summary(jumping)}\n\n### Lineages that separate gradually\n\n"
    text += summary(gradual) + "\n"
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
