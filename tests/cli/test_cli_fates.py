"""``scruot fates``: the library's numbers, and one line for an error."""

import anndata
import numpy as np

import scruot

BY_LINEAGE = ("--groupby", "lineage")


def test_fates_from_a_fit_and_from_couplings(scr, fitted, tmp_path):
    out = tmp_path / "out.h5ad"
    result = scr("fates", fitted, *BY_LINEAGE, "-o", out, "--device", "cpu", "--quiet")
    assert result.code == 0, result.err
    assert "transition" in result.out
    found = anndata.read_h5ad(out)
    expected = anndata.read_h5ad(fitted)
    scruot.tl.fate_probabilities(expected, "lineage", device="cpu")
    np.testing.assert_allclose(
        found.obsm["fate_probabilities"], expected.obsm["fate_probabilities"]
    )
    options = ("--source", "transport", "--use-rep", "X_genes", "--key-added", "other", "--none")
    result = scr("fates", out, *BY_LINEAGE, "-o", out, *options, "--quiet")
    assert result.code == 0, result.err
    found = anndata.read_h5ad(out)
    assert found.obsm["other_fate_probabilities"].shape[1] == 3
    assert "fate_probabilities" in found.obsm


def test_an_error_is_one_line_and_nothing_is_written(scr, cells, tmp_path):
    out = tmp_path / "out.h5ad"
    for options, words in (
        ((), "fit_dynamics"),
        (("--source", "transport", "--use-rep", "X_genes", "--state", "none"), "no group"),
        (("--source", "model"), "source"),
    ):
        result = scr("fates", cells, *BY_LINEAGE, "-o", out, *options)
        assert result.code == 1
        assert words in result.err
        assert len(result.err.strip().splitlines()) == 1
        assert not out.exists()


def test_without_labels_the_last_time_is_searched(scr, fitted, tmp_path):
    out = tmp_path / "out.h5ad"
    result = scr("fates", fitted, "-o", out, "--device", "cpu", "--quiet")
    assert result.code == 0, result.err
    expected = anndata.read_h5ad(fitted)
    scruot.tl.terminal_states(expected)
    scruot.tl.fate_probabilities(expected, device="cpu")
    found = anndata.read_h5ad(out)
    assert list(found.obsm["fate_probabilities"]) == ["end 1", "end 2"]
    np.testing.assert_allclose(
        found.obsm["fate_probabilities"], expected.obsm["fate_probabilities"]
    )


def test_conditions_and_replicates(scr, fitted, tmp_path):
    cells = anndata.read_h5ad(fitted)
    # every group and time in each of six animals
    animal = np.arange(cells.n_obs) % 6
    cells.obs["animal"] = [f"animal {k}" for k in animal]
    cells.obs["drug"] = np.where(animal % 2, "drug", "control")
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    cells.write_h5ad(path)
    samples = ("--condition-key", "drug", "--replicate-key", "animal", "--n-bootstrap", "2")
    result = scr("fates", path, *BY_LINEAGE, "-o", out, *samples, "--quiet")
    assert result.code == 0, result.err
    found = anndata.read_h5ad(out)
    assert set(found.uns["fate_shift"]["condition"]) == {"drug"}
    assert found.uns["fate_shift"]["p_least"].iloc[0] == 0.1
    assert (found.obsm["fate_probabilities_se"] >= 0).all(axis=None)
