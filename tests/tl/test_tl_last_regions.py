"""Terminal states without labels: the dense regions of the last snapshot."""

import anndata
import numpy as np
import pandas as pd
import pytest

import scruot


@pytest.fixture(scope="module")
def course():
    """Return a fit of two populations that stay apart, under names that are no defaults."""
    adata = scruot.datasets.three_gene(300, random_state=0)
    adata.obs["stage"] = [f"day {t:g}" for t in adata.obs.pop("time")]
    scruot.tl.fit_dynamics(adata, "wfr", time_key="stage", use_rep="X_genes", progress=False)
    return adata


@pytest.fixture
def cells(course):
    return course.copy()


def test_regions_are_the_populations_of_the_last_time(cells):
    table = scruot.tl.terminal_states(cells)
    found = cells.obs["terminal_states"]
    last = (cells.obs["stage"] == "day 4").to_numpy()
    assert found[~last].isna().all()
    shares = pd.crosstab(found[last], cells.obs["lineage"][last], normalize="index")
    assert shares.loc["end 1", "transition"] > 0.98
    assert shares.loc["end 2", "quiescent"] > 0.98
    assert found[last].notna().mean() > 0.95
    assert table["group"].tolist() == ["end 1", "end 2"]
    scruot.tl.fate_probabilities(cells)
    right = np.where(cells.obs["lineage"] == "transition", "end 1", "end 2")
    assert (cells.obs["fate"].astype(str) == right).mean() > 0.98
    # certain fates have an entropy of 0, not of -0
    assert not np.signbit(cells.obs["fate_entropy"]).any()


def test_the_time_column_and_representation_of_the_fit_are_read(cells):
    stated = {"time_key": "stage", "use_rep": "X_genes"}
    given = scruot.tl.fate_probabilities(cells, "lineage", source="transport", copy=True, **stated)
    scruot.tl.fate_probabilities(cells, "lineage", source="transport")
    pd.testing.assert_frame_equal(
        cells.obsm["fate_probabilities"], given.obsm["fate_probabilities"]
    )
    assert cells.uns["fates"]["time_key"] == "stage"


@pytest.mark.parametrize("n", [6, 200])
def test_one_cloud_is_refused_and_nothing_is_written(rng, n):
    obs = pd.DataFrame({"time": np.repeat([0.0, 1.0], n)}, index=[f"c{i}" for i in range(2 * n)])
    adata = anndata.AnnData(obs=obs, obsm={"X_pca": rng.normal(size=(2 * n, 3))})
    with pytest.raises(ValueError, match=r"(no two dense regions|Found 6 cells).*groupby"):
        scruot.tl.terminal_states(adata)
    assert "terminal_states" not in adata.obs
