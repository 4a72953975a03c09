"""The generator against the published table's statistics and against its own truth."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scruot.datasets import three_gene

# Count, means and standard deviations of (x1, x2) at each time of the published table.
PUBLISHED = pd.DataFrame(
    {
        "n": [400, 442, 530, 690, 969],
        "mean1": [1.024, 0.822, 0.523, 0.374, 0.365],
        "mean2": [0.115, 0.599, 1.076, 1.437, 1.646],
        "sd1": [0.985, 0.690, 0.366, 0.203, 0.162],
        "sd2": [0.108, 0.492, 0.792, 0.881, 0.812],
    }
)


def statistics(adata) -> pd.DataFrame:
    frame = pd.DataFrame(adata.obsm["X_genes"], columns=["1", "2"])
    groups = frame.groupby(adata.obs["time"].to_numpy())
    return pd.DataFrame(
        {
            "n": groups.size().astype(float),
            "mean1": groups["1"].mean(),
            "mean2": groups["2"].mean(),
            "sd1": groups["1"].std(),
            "sd2": groups["2"].std(),
        }
    ).reset_index(drop=True)


def test_agrees_with_the_published_table():
    replicates = [statistics(three_gene(random_state=seed)) for seed in range(20)]
    values = np.stack([frame.to_numpy() for frame in replicates])
    spread = values.std(axis=0, ddof=1)
    # The table is one draw, the mean of the replicates is uncertain, and the table is rounded.
    error = np.sqrt(spread**2 * (1 + 1 / len(values)) + 0.0005**2)
    z = (PUBLISHED.to_numpy() - values.mean(axis=0)) / error
    # 25 values: the largest |z| of as many standard normal numbers exceeds 4 in 0.2 % of cases.
    assert np.abs(z).max() < 4.0, pd.DataFrame(z, columns=PUBLISHED.columns)


def test_wrong_growth_rate_disagrees():
    sizes = [
        three_gene(random_state=s, growth_rate=0.13).uns["truth"]["population"]["size"][-1]
        for s in range(5)
    ]
    assert min(sizes) > PUBLISHED["n"].iloc[-1] * 1.3


def test_seed_decides_everything():
    a, b, c = (three_gene(60, random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(a.X, b.X)
    pd.testing.assert_frame_equal(a.obs, b.obs)
    assert a.shape != c.shape or not np.array_equal(a.X, c.X)
    d = three_gene(60, random_state=np.random.default_rng(3))
    np.testing.assert_array_equal(a.X, d.X)


def test_truth_is_the_law_in_label_time():
    adata = three_gene(80, n_genes=3, random_state=0)
    x1, x2, x3 = adata.X.T.astype(float)
    np.testing.assert_allclose(
        adata.obs["growth_true"], 0.52 * x2**2 / (1 + x2**2), rtol=1e-5, atol=1e-9
    )
    common = x2**2 + 10 * x3**2
    drift = np.column_stack(
        (
            (0.5 * x1**2 + 1) / (2 + 0.5 * x1**2 + common) - 0.4 * x1,
            (x2**2 + 1) / (2 + 0.5 * x1**2 + common) - 0.4 * x2,
            x3**2 / (1 + x3**2) - 0.4 * x3,
        )
    )
    np.testing.assert_allclose(adata.obsm["drift_true_genes"], 8 * drift, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        adata.uns["truth"]["sigma"], np.sqrt(8) * np.array([0.05, 0.05, 0.01])
    )
    sizes = adata.obs.groupby("time").size()
    np.testing.assert_array_equal(adata.uns["truth"]["population"]["size"], sizes)


def test_population_grows_as_the_truth_says():
    """Expected births over one interval are the integral of the true growth over the cells."""
    fine = three_gene(3000, time_unit=0.8, n_times=41, random_state=1)
    population = fine.uns["truth"]["population"]["size"]
    growth = fine.obs.groupby("time")["growth_true"].sum().to_numpy()
    births = np.sum((growth[1:] + growth[:-1]) / 2)  # per label unit, here 0.8 physical units
    observed = population[-1] - population[0]
    assert abs(observed - births) < 4 * np.sqrt(births)  # births are a counting process


def test_lineage_is_inherited_and_only_one_divides():
    adata = three_gene(200, fraction_transition=0.25, random_state=0)
    founders = adata.obs.groupby("founder")["lineage"].nunique()
    assert founders.max() == 1
    counts = adata.obs.groupby(["lineage", "time"], observed=True).size().unstack()
    assert counts.loc["transition", 0.0] == 50
    fold = counts[4.0] / counts[0.0]
    assert fold["transition"] > 2 * fold["quiescent"]


def test_survives_a_file(tmp_path):
    adata = three_gene(30, n_times=3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.obsm["X_genes"], adata.obsm["X_genes"])
    np.testing.assert_array_equal(
        again.uns["truth"]["population"]["time"], np.array([0.0, 1.0, 2.0])
    )
    assert again.uns["truth"]["parameters"]["growth_rate"] == 0.065


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_cells": 0}, "n_cells=0;"),
        ({"n_cells": 10.5}, "n_cells=10.5;"),
        ({"n_genes": 4}, "n_genes is 4"),
        ({"fraction_transition": 1.5}, "fraction_transition"),
        ({"dt": 0.3}, "whole number of steps"),
        ({"dt": float("nan")}, "dt is nan"),
        ({"growth_rate": -1.0}, "growth_rate is -1"),
        ({"growth_rate": 20.0}, "a probability"),
        ({"growth_rate": 2.0}, "population may reach"),
    ],
)
def test_wrong_parameters_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        three_gene(**wrong)
