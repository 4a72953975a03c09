"""``scruot plot`` draws whatever an h5ad file holds the data for."""

import anndata
import numpy as np
import pytest

import scruot
from scruot.cli._pictures import KINDS


def test_every_picture_is_drawn_by_the_command_line():
    assert sorted(KINDS) == sorted(scruot.pl.__all__)


@pytest.fixture(scope="module")
def complete(fitted_source, tmp_path_factory):
    """A file with the results of all tools."""
    adata = anndata.read_h5ad(fitted_source)
    adata.varm["genes"] = np.eye(2)
    adata.X = adata.obsm["X_genes"].copy()
    key = {"device": "cpu"}
    scruot.tl.evaluate(adata, n_cells=50, **key)
    scruot.tl.diagnose(adata, **key)
    scruot.tl.fate_probabilities(adata, "lineage", **key)
    scruot.tl.fate_calibration(adata, "lineage")
    scruot.tl.driver_genes(adata)
    scruot.tl.gene_trends(adata, list(adata.var_names))
    scruot.tl.gene_velocity(adata)
    scruot.tl.regulatory_jacobian(adata)
    scruot.tl.perturbation(adata, np.array([0.3, 0.0]), groupby="lineage", n_cells=20, **key)
    scruot.tl.lineage_mass(adata, "lineage", n_cells=20, **key)
    scruot.tl.transport(adata, "wfr", progress=False, **key)
    scruot.tl.transition_table(adata, "lineage")
    chosen = {"lineage": "transition"}
    scruot.tl.descendants(adata, chosen, source_time=0)
    scruot.tl.ancestors(adata, chosen, target_time=2)
    scruot.tl.sparse_displacement(adata)
    scruot.tl.sparsity_path(adata, [1.0], source=0.0, target=1.0, method="local")
    path = tmp_path_factory.mktemp("complete") / "all.h5ad"
    adata.write_h5ad(path)
    return path


def test_all_that_a_file_holds_is_drawn(scr, complete, tmp_path):
    result = scr("plot", complete, "-o", tmp_path, "--basis", "umap")
    assert result.code == 0, result.err
    drawn = [path.stem for path in tmp_path.iterdir()]
    # wfrfm learns no potential, and two fates span no polygon
    assert sorted(drawn) == sorted(set(KINDS) - {"potential", "fate_map"})


def test_results_without_a_fit_are_drawn_too(scr, cells, tmp_path):
    adata = anndata.read_h5ad(cells)
    options = {"source": "transport", "use_rep": "X_genes", "key_added": "mine"}
    scruot.tl.fate_probabilities(adata, "lineage", **options)
    adata.write_h5ad(cells)
    result = scr("plot", cells, "-o", tmp_path / "figures", "--key", "mine", "--basis", "umap")
    assert result.code == 0, result.err
    drawn = [path.name for path in (tmp_path / "figures").iterdir()]
    assert sorted(drawn) == ["mine_fate_bars.png", "mine_fate_probabilities.png"]
