"""Time column and representation of a fit, read again by tools that start from the data."""

import logging

import numpy as np
import pytest
from anndata import AnnData

import scruot

OTHER = {"time_key": "hour", "use_rep": "X_wide"}


@pytest.fixture(scope="module")
def _days():
    adata = scruot.datasets.three_gene(40, n_times=3, random_state=0)
    adata.obs["day"] = adata.obs.pop("time")
    adata.obs["hour"] = 24 * adata.obs["day"]
    x = adata.obsm["X_genes"]
    adata.obsm["X_wide"] = np.hstack([x, np.random.default_rng(0).normal(size=x.shape)])
    adata.obsm["X_wide"] = adata.obsm["X_wide"].astype(np.float32)
    fit = {"time_key": "day", "use_rep": "X_wide", "n_dims": 2, "progress": False}
    scruot.tl.fit_dynamics(adata, "wfr", **fit)
    return adata


@pytest.fixture
def days(_days):
    """Return cells with a fit on two columns of a wider representation, time in days."""
    return _days.copy()


def as_called(adata, entry="transport"):
    params = adata.uns[entry]["params"]
    return {name: params[name] for name in ("time_key", "use_rep", "n_dims")}


def test_transport_reads_as_the_fit_did_and_says_so(days, caplog):
    with caplog.at_level(logging.INFO, logger="scruot"):
        scruot.tl.transport(days, "wfr", progress=False)
    assert "as in uns['dynamics']: time_key = 'day', use_rep = 'X_wide', n_dims = 2" in caplog.text
    assert as_called(days) == {"time_key": "day", "use_rep": "X_wide", "n_dims": 2}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"time_key": "hour"}, {"time_key": "hour", "use_rep": "X_wide", "n_dims": 2}),
        ({"n_dims": 3}, {"time_key": "day", "use_rep": "X_wide", "n_dims": 3}),
        # the number of columns belongs to the fitted representation
        ({"use_rep": "X_genes"}, {"time_key": "day", "use_rep": "X_genes", "n_dims": "null"}),
        (OTHER, {**OTHER, "n_dims": "null"}),
    ],
)
def test_what_is_given_wins(days, given, expected):
    scruot.tl.transport(days, "wfr", progress=False, **given)
    assert as_called(days) == expected


@pytest.mark.parametrize("entry", [None, {"params": {}}, {"params": 1}, "text"])
def test_without_a_fit_the_defaults_hold(days, entry):
    del days.uns["dynamics"]
    if entry is not None:
        days.uns["dynamics"] = entry
    with pytest.raises(KeyError, match="No time column 'time'"):
        scruot.tl.transport(days)
    with pytest.raises(KeyError, match="X_pca"):
        scruot.tl.transport(days, time_key="day")


def test_a_table_of_left_out_times_is_that_of_the_fit(days):
    call = {"methods": "wfr", "n_cells": 40, "progress": False}
    found = scruot.tl.cross_validate(days, **call)
    explicit = {"time_key": "day", "use_rep": "X_wide", "n_dims": 2}
    expected = scruot.tl.cross_validate(days, **explicit, **call)
    assert found.equals(expected)
    others = scruot.tl.cross_validate(days, **OTHER, **call)
    assert others["time"].unique().tolist() == [24.0]


def test_calibration_and_imported_couplings_read_like_transport(days):
    days.obs["rate"] = np.linspace(0, 0.1, days.n_obs)
    found = scruot.tl.calibrate_transport(days, growth="rate")
    call = {"time_key": "day", "use_rep": "X_wide", "n_dims": 2}
    assert found == scruot.tl.calibrate_transport(days, growth="rate", **call)
    n = days.obs["day"].value_counts()
    plans = {(t, t + 1): np.ones((n[t], n[t + 1])) for t in (0, 1)}
    scruot.tl.import_couplings(days, plans)
    assert days.uns["transport"]["params"]["time_key"] == "day"


def test_fates_of_couplings_and_their_shift_read_like_the_fit(days):
    scruot.tl.fate_probabilities(days, "lineage", source="transport")
    assert as_called(days, "fates") == {"time_key": "day", "use_rep": "X_wide", "n_dims": 2}
    assert days.uns["fates"]["time_key"] == "day"
    days.obs["drug"] = np.where(np.arange(days.n_obs) % 2, "treated", "control")
    table = scruot.tl.fate_shift(days, "drug", n_permutations=9)
    assert set(table["time"]) <= {0.0, 1.0, 2.0}
    table = scruot.tl.fate_shift(days, "drug", n_permutations=9, time_key="hour")
    assert set(table["time"]) <= {0.0, 24.0, 48.0}


@pytest.fixture(scope="module")
def _genes():
    adata = scruot.datasets.sparse_displacement("jumping", n_cells=120, n_genes=60)
    adata.obs["day"] = adata.obs.pop("time")
    adata.obsm["X_states"] = adata.obsm.pop("X_pca")
    return adata


@pytest.fixture
def genes(_genes):
    """Return cells with genes whose column and representation are named unlike the defaults."""
    return _genes.copy()


def test_displaced_genes_read_like_the_transport_where_there_is_no_fit(genes):
    with pytest.raises(KeyError, match="No time column 'time'"):
        scruot.tl.sparse_displacement(genes)
    how = {"time_key": "day", "use_rep": "X_states"}
    scruot.tl.transport(genes, **how, n_dims=3, progress=False)
    scruot.tl.sparse_displacement(genes)
    params = genes.uns["displacement_genes"]["params"]
    assert {name: params[name] for name in how} == how
    assert params["coupling"] == "transport"
    found = genes.obsm["displacement"].toarray()
    scruot.tl.sparse_displacement(genes, **how, n_dims=3, mass="equal")
    np.testing.assert_array_equal(genes.obsm["displacement"].toarray(), found)


def test_a_path_over_penalties_reads_like_the_fit(genes):
    how = {"time_key": "day", "use_rep": "X_states"}
    scruot.tl.fit_dynamics(genes, "wfr", **how, progress=False)
    call = {"source": 0.0, "target": 1.0, "method": "local", "strengths": [1.0]}
    scruot.tl.sparsity_path(genes, **call)
    found = genes.uns["sparsity_path"]["table"]
    scruot.tl.sparsity_path(genes, **call, **how)
    assert found.equals(genes.uns["sparsity_path"]["table"])


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("driver_genes", {}),
        ("gene_velocity", {}),
        ("growth_genes", {}),
        ("sparse_displacement", {"source": 0, "target": 1}),
    ],
)
def test_tools_of_genes_say_when_there_are_none(days, tool, given):
    scruot.tl.fate_probabilities(days, "lineage")
    without = AnnData(obs=days.obs, obsm=dict(days.obsm), uns=days.uns)
    for cells in (without, days[:, :0].copy()):
        with pytest.raises(ValueError, match=r"no expression in adata\.X"):
            getattr(scruot.tl, tool)(cells, **given)
