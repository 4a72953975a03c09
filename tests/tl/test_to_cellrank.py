"""Velocity and fates under CellRank's names: what is written, and what is refused."""

import anndata
import numpy as np
import pandas as pd
import pytest

import scruot
from tests.io._same import contents, same

FATES = ["left", "right", "none of these"]


@pytest.fixture
def with_fates(drifting, rng):
    """Return cells with a fit, written velocities, and fates as the contract has them."""
    adata = drifting
    model = scruot.get.dynamics(adata)
    adata.obsm["velocity_pca"] = model.velocity(adata.obs["time"].to_numpy(), adata.obsm["X_pca"])
    values = rng.dirichlet([1.0, 1.0, 1.0], adata.n_obs)
    adata.obsm["fate_probabilities"] = pd.DataFrame(values, adata.obs_names, columns=FATES)
    states = np.where(adata.obs["time"] == 3, adata.obs["side"], None)
    names = {"up": "right", "down": "left"}
    adata.obs["terminal_states"] = pd.Categorical(
        pd.Series(states).map(names), categories=["left", "right"]
    )
    adata.uns["terminal_states_colors"] = ["#ff0000", "#00ff00"]
    return adata


def test_plain_arrays_that_survive_a_file(with_fates, tmp_path):
    scruot.tl.to_cellrank(with_fates)
    with_fates.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert type(read.obsm["lineages_fwd"]) is np.ndarray
    np.testing.assert_array_equal(
        read.obsm["lineages_fwd"], with_fates.obsm["fate_probabilities"].to_numpy()
    )
    states = read.obs["term_states_fwd"]
    # a category per column, in their order, also for the fate that no cell is in
    assert states.cat.categories.tolist() == FATES
    assert states.notna().sum() == (read.obs["time"] == 3).sum()
    assert list(read.uns["term_states_fwd_colors"]) == ["#ff0000", "#00ff00", "#b0b0b0"]
    assert read.uns["cellrank"]["transition_matrix"] == {"similarity": "cosine"}
    expected = {"attr": "obsm", "xkey": "X_pca", "vkey": "velocity_pca"}
    assert read.uns["cellrank"]["velocity_kernel"] == expected


def test_columns_in_another_order_than_the_categories(with_fates):
    table = with_fates.obsm["fate_probabilities"]
    with_fates.obsm["fate_probabilities"] = table[["right", "none of these", "left"]]
    scruot.tl.to_cellrank(with_fates)
    assert with_fates.obs["term_states_fwd"].cat.categories[0] == "right"
    assert with_fates.uns["term_states_fwd_colors"] == ["#00ff00", "#b0b0b0", "#ff0000"]
    kept = with_fates.obs["terminal_states"].astype(object).fillna("")
    assert (with_fates.obs["term_states_fwd"].astype(object).fillna("") == kept).all()


def test_without_stored_colours_every_lineage_has_its_own(with_fates):
    del with_fates.uns["terminal_states_colors"]
    scruot.tl.to_cellrank(with_fates)
    assert len(set(with_fates.uns["term_states_fwd_colors"])) == 3


def test_a_velocity_with_fewer_columns_gets_coordinates_of_its_own(unfitted, fit_constant, rng):
    extra = rng.normal(size=(unfitted.n_obs, 3)).astype(np.float32)
    unfitted.obsm["X_pca"] = np.hstack([unfitted.obsm["X_pca"], extra])
    fit_constant(unfitted, n_dims=2, key="alt")
    scruot.tl.apply_dynamics(unfitted, unfitted.copy(), key="alt")
    scruot.tl.to_cellrank(unfitted, key="alt")
    kernel = unfitted.uns["cellrank"]["velocity_kernel"]
    assert kernel == {"attr": "obsm", "xkey": "X_alt", "vkey": "alt_velocity_pca"}
    np.testing.assert_array_equal(unfitted.obsm["X_alt"], unfitted.obsm["X_pca"][:, :2])
    assert "lineages_fwd" not in unfitted.obsm


def test_fates_alone_and_a_copy(with_fates):
    del with_fates.uns["dynamics"]
    before = contents(with_fates)
    copy = scruot.tl.to_cellrank(with_fates, copy=True)
    assert same(contents(with_fates), before)
    assert "lineages_fwd" in copy.obsm
    assert "cellrank" not in copy.uns


def no_fate(adata):
    adata.obsm["fate_probabilities"].iloc[3] = np.nan


def half(adata):
    adata.obsm["fate_probabilities"] *= 0.5


def array(adata):
    adata.obsm["fate_probabilities"] = adata.obsm["fate_probabilities"].to_numpy()


def no_states(adata):
    del adata.obs["terminal_states"]


def other_states(adata):
    adata.obs["terminal_states"] = adata.obs["terminal_states"].cat.rename_categories({"left": "x"})


def no_velocity(adata):
    del adata.obsm["velocity_pca"]


def moved(adata):
    adata.obsm["X_pca"] = adata.obsm["X_pca"] + 1


BAD = [
    (no_fate, ValueError, r"1 cells have no fate \(first: 'cell3'\).*notna\(\)\.all\(axis=1\)"),
    (half, ValueError, r"do not sum to one; expected probabilities"),
    (array, ValueError, r"is a ndarray; expected a DataFrame"),
    (no_states, KeyError, r"No terminal states in obs\['terminal_states'\].*fate_probabilities"),
    (other_states, ValueError, r"has the states \['x'\], of which there is no column"),
    (no_velocity, KeyError, r"No velocity obsm\['velocity_pca'\] of the fit; fit again"),
    (moved, ValueError, r"has changed since"),
]


@pytest.mark.parametrize(("spoil", "error", "message"), BAD)
def test_one_clear_message(with_fates, spoil, error, message):
    spoil(with_fates)
    before = contents(with_fates)
    with pytest.raises(error, match=message):
        scruot.tl.to_cellrank(with_fates)
    assert same(contents(with_fates), before)


def test_nothing_to_export(unfitted, fit_constant):
    with pytest.raises(KeyError, match="neither a fit nor fates to export; expected at least one"):
        scruot.tl.to_cellrank(unfitted)
    fit_constant(unfitted)
    model = scruot.get.dynamics(unfitted)
    time, x = unfitted.obs["time"].to_numpy(), unfitted.obsm["X_pca"]
    unfitted.obsm["velocity_pca"] = model.velocity(time, x)
    with pytest.raises(KeyError, match=r"No fates in obsm\['other_fate_probabilities'\]"):
        scruot.tl.to_cellrank(unfitted, fates_key="other")
    assert "cellrank" not in unfitted.uns
