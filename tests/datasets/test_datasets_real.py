"""The prepared copies of real data, where SCRUOT_DATA_DIR has them."""

import logging

import anndata as ad
import numpy as np
import pytest

from scruot import datasets

# Cells per time, representation, its dimensions; genes where there are any.
EXPECTED = {
    "emt": ({0: 577, 1: 885, 2: 788, 3: 883}, "X_ae", 10, 0),
    "embryoid_body": ({0: 2396, 1: 4133, 2: 3307, 3: 3645, 4: 3344}, "X_phate", 2, 0),
    "three_gene_table": ({0: 400, 1: 442, 2: 530, 3: 690, 4: 969}, "X_genes", 2, 0),
    "dyngen": ({0: 156, 1: 112, 2: 63, 3: 96, 4: 301}, "X_latent", 5, 0),
    "bifurcation": (
        {0: 231, 1: 166, 2: 93, 3: 211, 4: 122, 5: 258, 6: 456, 7: 359},
        "X_latent",
        4,
        0,
    ),
    "guo2010": ({0: 9, 1: 19, 2: 23, 3: 43, 4: 75, 5: 109, 6: 159}, "X_pca", 20, 48),
    "hsmm": ({0: 69, 24: 74, 48: 79, 72: 49}, "X_pca", 30, 2998),
    "hayashi2018": ({0: 92, 12: 91, 24: 93, 48: 87, 72: 93}, "X_pca", 20, 100),
    "treutlein2016": ({0: 83, 2: 118, 5: 55, 22: 117}, "X_pca", 20, 100),
    "mef_reprogramming": ({10: 85, 10.5: 81, 11: 84}, "X_pca", 30, 1479),
}


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("name", EXPECTED)
def test_prepared_copy_is_read(name, tmp_path):
    counts, rep, n_dims, n_genes = EXPECTED[name]
    adata = getattr(datasets, name)()
    assert adata.obs["time"].dtype == np.float64
    assert adata.obs["time"].value_counts().to_dict() == counts
    assert adata.obsm[rep].shape == (sum(counts.values()), n_dims)
    assert np.isfinite(adata.obsm[rep]).all()
    assert adata.n_vars == n_genes
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    assert adata.uns["dataset"]["name"] == name
    assert {"source", "reference", "licence", "file"} <= set(adata.uns["dataset"])
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.obsm[rep], adata.obsm[rep])


@pytest.mark.usefixtures("data_dir")
def test_emt_keeps_hours_and_barcodes():
    adata = datasets.emt()
    hours = adata.obs.groupby("time")["hours"].unique().map(sorted).to_dict()
    assert hours == {0.0: [0], 1.0: [8], 2.0: [24], 3.0: [72, 168]}
    assert adata.obs["barcode"].is_unique
    assert adata.obsm["X_tigon"].shape == (3133, 3)


@pytest.mark.usefixtures("data_dir")
def test_embryoid_body_says_that_its_times_are_reconstructed(caplog):
    with caplog.at_level(logging.WARNING, "scruot.datasets"):
        adata = datasets.embryoid_body()
    assert "time labels reconstructed" in caplog.text
    assert "reconstructed" in adata.uns["dataset"]["note"]


def test_prepared_files_are_the_listed_ones(data_dir):
    listed = data_dir / "SHA256SUMS"
    if not listed.is_file():
        pytest.skip("the data folder has no SHA256SUMS")
    hashes = {name: found for found, name in map(str.split, listed.read_text().splitlines())}
    from scruot.datasets._registry import ENTRIES

    ours = {e.prepared.name: e.prepared.sha256 for e in ENTRIES.values() if e.prepared}
    assert ours.items() <= hashes.items()
