"""A method from outside the package: registered, fitted, written, read again."""

from __future__ import annotations

import dataclasses

import anndata as ad
import numpy as np
import pytest

import scruot
from scruot import solvers


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(solvers, "_SOLVERS", dict(solvers._SOLVERS))


@pytest.fixture
def mine():
    return dataclasses.replace(solvers.get("wfr"), name="mine")


def test_method_is_fitted_and_its_file_is_read_again(mine, tmp_path):
    solvers.register(mine)
    adata = scruot.datasets.three_gene(60, random_state=0)
    scruot.tl.fit_dynamics(adata, "mine", use_rep="X_genes", progress=False)
    adata.write_h5ad(tmp_path / "fitted.h5ad")
    again = scruot.get.dynamics(ad.read_h5ad(tmp_path / "fitted.h5ad"))
    x = adata.obsm["X_genes"][:5]
    np.testing.assert_array_equal(
        again.velocity(1.5, x), scruot.get.dynamics(adata).velocity(1.5, x)
    )
    table = scruot.tl.cross_validate(
        adata, ["mine", "wfr"], times=2, use_rep="X_genes", progress=False
    ).set_index("method")
    assert table.loc["mine", "w1"] == table.loc["wfr", "w1"]


def test_file_of_a_method_that_is_not_registered_says_so(mine):
    solvers.register(mine)
    adata = scruot.datasets.three_gene(60, random_state=0)
    scruot.tl.fit_dynamics(adata, "mine", use_rep="X_genes", progress=False)
    del solvers._SOLVERS["mine"]
    with pytest.raises(ValueError, match=r"Unknown method 'mine'.*solvers\.register"):
        scruot.get.dynamics(adata)


def test_names_are_not_taken_by_accident(mine):
    with pytest.raises(ValueError, match="'wfr' already"):
        solvers.register(solvers.get("wfr"))
    other = dataclasses.replace(mine, name="wfr", summary="another")
    solvers.register(other, replace=True)
    assert solvers.describe("wfr")["summary"] == "another"


@pytest.mark.parametrize("name", ["", "My method", "2step", "a/b"])
def test_names_that_no_slot_can_carry(mine, name):
    with pytest.raises(ValueError, match="lower-case letters"):
        solvers.register(dataclasses.replace(mine, name=name))


def test_something_else_than_a_solver():
    with pytest.raises(TypeError, match="Found a str; expected a Solver"):
        solvers.register("wfr")
