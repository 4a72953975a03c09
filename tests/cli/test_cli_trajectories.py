"""Perturbed simulations, groups and genes on the command line, and their pictures."""

import anndata
import numpy as np
import pytest

import scruot


def test_simulate_with_groups_genes_and_a_perturbation(scr, fitted, tmp_path):
    output = tmp_path / "sim.h5ad"
    adata = anndata.read_h5ad(fitted)
    adata.varm["genes"] = np.eye(2)
    adata.X = adata.obsm["X_genes"].copy()
    adata.obsm["X_genes"] = adata.X.copy()
    adata.write_h5ad(fitted)
    first, second = adata.var_names
    result = scr(
        *("simulate", fitted, "-o", output, "--times", "0,1", "--device", "cpu"),
        *("--groupby", "lineage", "--genes", f"{second}, {first}", "--perturb", f"{first}=+0.25"),
        *("--perturb", f"{second}=-0.5"),
    )
    assert result.code == 0, result.err
    simulated = anndata.read_h5ad(output)
    assert simulated.var_names.tolist() == [second, first]
    assert set(simulated.obs["fate"]) <= {"transition", "quiescent"}
    expected = scruot.tl.simulate(
        adata, [0, 1], perturb={first: 0.25, second: -0.5}, genes=[second, first], device="cpu"
    )
    np.testing.assert_allclose(simulated.X, expected.X, atol=1e-5)
    np.testing.assert_allclose(simulated.uns["simulation"]["shift"], [0.25, -0.5])


@pytest.mark.parametrize("change", ["gene", "gene=up", "=1", "gene=nan"])
def test_what_is_no_change_of_a_gene_is_refused(scr, fitted, tmp_path, change):
    result = scr("simulate", fitted, "-o", tmp_path / "sim.h5ad", "--perturb", change)
    assert result.code == 2
    assert "e.g. Gata1=+1" in " ".join(result.err.split())
    assert not (tmp_path / "sim.h5ad").exists()


def test_pictures_of_groups_and_of_stored_tables(scr, fitted, tmp_path):
    before = fitted.read_bytes()
    folder = tmp_path / "figures"
    kinds = ("trajectories", "lineage_mass")
    result = scr("plot", fitted, *kinds, "--groupby", "lineage", "-o", folder)
    assert result.code == 0, result.err
    assert sorted(path.stem for path in folder.iterdir()) == sorted(kinds)
    assert fitted.read_bytes() == before
    missing = scr("plot", fitted, "lineage_mass", "-o", folder)
    assert missing.code == 1
    assert "scruot.tl.lineage_mass(adata, groupby" in missing.err
    adata = anndata.read_h5ad(fitted)
    scruot.tl.perturbation(adata, np.array([0.3, 0.0]), groupby="lineage", device="cpu")
    adata.write_h5ad(fitted)
    drawn = scr("plot", fitted, "perturbation", "-o", folder)
    assert drawn.code == 0, drawn.err
    assert "scruot.tl.gene_trends(adata" in scr("plot", fitted, "gene_trends", "-o", folder).err
