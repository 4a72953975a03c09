"""The Gaussian mixture against its closed form."""

import anndata as ad
import numpy as np
import pytest

from scruot.datasets import gaussian_mixture


@pytest.mark.parametrize("n_dims", [2, 10, 1000])
def test_clusters_are_where_the_truth_says(n_dims):
    adata = gaussian_mixture(n_dims)
    clusters = adata.uns["truth"]["clusters"]
    x = adata.obsm["X_sim"].astype(float)
    time, branch = adata.obs["time"].to_numpy(), adata.obs["branch"]
    for k, name in enumerate(clusters["name"]):
        cells = x[(time == 1) & (branch == name).to_numpy()]
        assert len(cells) == {"left": 200, "right": 200, "growing": 1000}[name]
        # The squared distance of the mean from its place is a scaled chi-squared: 5 sd allowed.
        scale = 0.005 / len(cells)
        off = ((cells.mean(axis=0) - clusters["end"][k]) ** 2).sum() / scale
        assert off < n_dims + 5 * np.sqrt(2 * n_dims) + 10
        variance = ((cells - cells.mean(axis=0)) ** 2).sum() / (n_dims * (len(cells) - 1))
        assert abs(variance / 0.005 - 1) < 5 * np.sqrt(2 / (n_dims * len(cells)))
    before = x[(time == 0) & branch.isna().to_numpy()]
    assert len(before) == 400
    assert np.abs(before.mean(axis=0)).max() < 6 * np.sqrt(0.005 / 400)


def test_masses_and_growth_agree():
    adata = gaussian_mixture(3, n_splitting=301, n_growing=50, fold_growth=4.0)
    truth = adata.uns["truth"]
    np.testing.assert_array_equal(truth["population"]["size"], [351, 501])
    np.testing.assert_allclose(truth["clusters"]["start_mass"].sum(), 1.0)
    np.testing.assert_allclose(truth["clusters"]["end_mass"].sum(), 501 / 351)
    # Mass at time 1 = mass at time 0, each cell grown by its own rate over one unit of time.
    start = adata.obs[adata.obs["time"] == 0]
    np.testing.assert_allclose(np.exp(start["growth_true"]).sum(), 501)


def test_seed_decides_everything():
    a, b, c = (gaussian_mixture(random_state=seed).X for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_survives_a_file(tmp_path):
    adata = gaussian_mixture(4)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert list(again.uns["truth"]["clusters"]["name"]) == ["left", "right", "growing"]
    assert again.obs["branch"].isna().sum() == 400


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_dims": 1}, "n_dims=1;"),
        ({"n_dims": True}, "n_dims=True;"),
        ({"fold_growth": 0.0}, "fold_growth"),
        ({"std": float("inf")}, "std is inf"),
        ({"separation": -1.0}, "separation"),
    ],
)
def test_wrong_parameters_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        gaussian_mixture(**wrong)
