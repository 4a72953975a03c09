"""The neural maps through the public tool."""

import numpy as np
import pytest

from scruot import datasets, tl
from scruot.displacement import icnn


@pytest.fixture
def jumping(monkeypatch):
    """Return small data, and networks that train briefly."""
    kept = icnn.fit_icnn
    brief = {"rounds": 30, "block": 5, "trials": 2, "width": 16}
    monkeypatch.setattr(
        "scruot.tl._displacement_icnn.fit_icnn", lambda *a, **k: kept(*a, **brief, **k)
    )
    return datasets.sparse_displacement("uniform", n_cells=60, n_genes=90)


def test_writes_the_slots_of_the_tool(jumping, capsys):
    tl.sparse_displacement(jumping, method="icnn", n_active=3, device="cpu")
    assert capsys.readouterr().err == ""
    moved = jumping.obsm["displacement"]
    start = (jumping.obs["time"] == 0).to_numpy()
    assert moved.shape == jumping.shape
    assert moved[~start].nnz == 0
    assert 0 < moved[start].nnz <= 3 * start.sum()
    assert (np.diff(moved.indptr) == jumping.obs["n_displaced_genes"]).all()
    assert jumping.uns["displacement_genes"]["params"]["penalty"] == "smoothed_l0"
    best = jumping.var["displacement_score"].nlargest(3).index
    assert jumping.var.loc[best, "displaced_true"].all()


def test_progress_is_shown_on_request(jumping, capsys):
    tl.sparse_displacement(jumping, method="icnn", n_active=3, device="cpu", progress=True)
    assert "icnn" in capsys.readouterr().err


def test_a_path_over_strengths(jumping):
    tl.sparsity_path(jumping, [0.0, 30.0], source=0.0, target=1.0, method="icnn", penalty="l1")
    table = jumping.uns["sparsity_path"]["table"]
    assert table["dimension"].iloc[0] > table["dimension"].iloc[1]
    assert table["distance"].iloc[0] < table["distance"].iloc[1]


def test_one_wish_at_a_time(jumping):
    with pytest.raises(ValueError, match="one of the two"):
        tl.sparse_displacement(jumping, method="icnn", n_active=3, strength=1.0)
    assert "displacement" not in jumping.obsm
