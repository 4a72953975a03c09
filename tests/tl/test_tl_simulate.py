"""Carrying cells through time."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

import scruot
from scruot.tl import simulate


def states(simulated, time, basis="X_pca"):
    return simulated.obsm[basis][(simulated.obs["time"] == time).to_numpy()]


def weights(simulated, time):
    return simulated.obs.loc[simulated.obs["time"] == time, "weight"].to_numpy()


def test_every_trajectory_has_a_row_per_time(drifting, law):
    simulated = simulate(drifting)
    first = drifting.obs_names[drifting.obs["time"] == 0]
    assert simulated.n_obs == 3 * len(first)
    assert simulated.obs_names.is_unique
    assert np.unique(simulated.obs["time"]).tolist() == list(law.times)
    for _, rows in simulated.obs.groupby("time"):
        assert rows["start_cell"].tolist() == first.tolist()
        assert rows["trajectory"].tolist() == list(range(len(first)))
    assert simulated.X is None
    assert simulated.obsm["X_pca"].dtype == np.float32
    assert simulated.uns["simulation"] == {
        "key": "dynamics",
        "method": "wfrfm",
        "use_rep": "X_pca",
        "direction": "forward",
        "stochastic": False,
        "random_state": 0,
    }


def test_cells_follow_the_law_also_at_times_never_observed(drifting, law, caplog):
    simulated = simulate(drifting, [4.5, 0, 0.25])
    assert "beyond the fitted times" in caplog.text
    x0 = drifting.obsm["X_pca"][(drifting.obs["time"] == 0).to_numpy()]
    for t in (0, 0.25, 4.5):
        np.testing.assert_allclose(states(simulated, t), x0 + law.velocity * t, atol=1e-5)
        assert weights(simulated, t).sum() == pytest.approx(np.exp(law.growth * t), rel=1e-5)


def test_labels_of_the_time_column_are_times(drifting):
    expected = simulate(drifting, [0, 1, 3, 2])
    labels = {0.0: "day 0", 1.0: "day 1", 3.0: "day 3"}
    drifting.obs["time"] = pd.Categorical(drifting.obs["time"].map(labels), ordered=True)
    found = simulate(drifting, ["day 0", "day 3", 2, "day 1"])
    np.testing.assert_array_equal(found.obs["time"], expected.obs["time"])
    np.testing.assert_array_equal(found.obsm["X_pca"], expected.obsm["X_pca"])
    with pytest.raises(ValueError, match=r"Found times with 'day 2'.*'day 0', 'day 1', 'day 3'"):
        simulate(drifting, ["day 0", "day 2"])


def test_ordered_words_are_times_also_for_a_part_of_the_cells(unfitted):
    words = pd.CategoricalDtype(["early", "mid", "late"], ordered=True)
    unfitted.obs["time"] = unfitted.obs["time"].map({0: "early", 1: "mid", 3: "late"}).astype(words)
    scruot.tl.fit_dynamics(unfitted, "wfr", progress=False)
    part = unfitted[unfitted.obs["time"] == "early"].copy()
    assert simulate(part, ["late", "early"]).obs["time"].unique().tolist() == [0.0, 2.0]
    table = scruot.tl.lineage_mass(unfitted, "side", times="late")
    assert table["time"].unique().tolist() == [0.0, 2.0]
    scruot.tl.landscape(unfitted, times=["mid", 0.5], n_grid=8)
    assert unfitted.uns["landscape"]["times"].tolist() == [0.5, 1.0]


def test_weights_sum_to_the_predicted_populations(trained):
    simulated = simulate(trained)
    total = simulated.obs.groupby("time")["weight"].sum()
    model = scruot.get.dynamics(trained)
    x0 = trained.obsm["X_genes"][(trained.obs["time"] == 0).to_numpy()]
    expected = model.simulate(x0, model.times).mass.numpy()
    assert total.iloc[0] == pytest.approx(1)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert not np.allclose(total, 1)


def test_backward_undoes_forward(trained):
    forth = simulate(trained)
    end = states(forth, 2, "X_genes")
    back = simulate(trained, start=end, direction="backward")
    begin = states(forth, 0, "X_genes")
    np.testing.assert_allclose(states(back, 0, "X_genes"), begin, atol=2e-3)
    assert np.abs(end - begin).max() > 0.1
    gone = weights(forth, 2) / weights(forth, 0) * weights(back, 0) / weights(back, 2)
    np.testing.assert_allclose(gone, 1, atol=2e-3)


def test_times_run_in_the_direction_asked_for(drifting):
    assert pd.unique(simulate(drifting, [1, 0, 3]).obs["time"]).tolist() == [0, 1, 3]
    back = simulate(drifting, [1, 0, 3], direction="backward")
    assert pd.unique(back.obs["time"]).tolist() == [3, 1, 0]
    assert set(back.obs["start_cell"]) == set(drifting.obs_names[drifting.obs["time"] == 3])


def test_default_times_begin_at_the_start_cells(drifting):
    middle = drifting.obs_names[drifting.obs["time"] == 1][:5]
    forth = simulate(drifting, start=list(middle))
    assert pd.unique(forth.obs["time"]).tolist() == [1, 3]
    back = simulate(drifting, start=list(middle), direction="backward")
    assert pd.unique(back.obs["time"]).tolist() == [1, 0]


def test_start_cells_may_be_named_in_many_ways(drifting):
    drifting.obs["chosen"] = (drifting.obs["time"] == 0) & (drifting.obs["side"] == "up")
    names = drifting.obs_names[drifting.obs["chosen"]]
    x = drifting[names].obsm["X_pca"]
    by_column = simulate(drifting, start="chosen")
    assert by_column.obs["start_cell"].tolist() == 3 * names.tolist()
    assert by_column.obs.groupby("time")["weight"].sum().iloc[0] == pytest.approx(1)
    mask = drifting.obs["chosen"]
    for start in (mask, mask.to_numpy(), mask.tolist(), names, names.tolist()):
        other = simulate(drifting, start=start)
        pd.testing.assert_frame_equal(other.obs, by_column.obs)
        np.testing.assert_array_equal(other.obsm["X_pca"], by_column.obsm["X_pca"])
    for start in (x, pd.DataFrame(x), torch.from_numpy(x)):
        other = simulate(drifting, start=start)
        np.testing.assert_allclose(other.obsm["X_pca"], by_column.obsm["X_pca"], atol=1e-6)
        assert other.obs["start_cell"].iloc[1] == "start1"


def test_named_cells_keep_their_order(drifting):
    names = ["cell7", "cell2", "cell11"]
    simulated = simulate(drifting, start=names)
    assert simulated.obs["start_cell"].tolist() == 3 * names
    np.testing.assert_allclose(states(simulated, 0), drifting[names].obsm["X_pca"], atol=1e-6)


def test_coordinates_may_start_at_any_time(drifting, law):
    simulated = simulate(drifting, [2.5, 2.0], start=np.zeros((4, 2)))
    np.testing.assert_allclose(states(simulated, 2.5), np.tile(law.velocity / 2, (4, 1)), atol=1e-6)


def test_start_is_what_the_fit_saw(unfitted, fit_constant):
    unfitted.obs["aside"] = np.arange(unfitted.n_obs) % 4 == 0
    fit_constant(unfitted, holdout_cells="aside", holdout=1)
    simulated = simulate(unfitted)
    assert np.unique(simulated.obs["time"]).tolist() == [0, 3]
    seen = unfitted.obs_names[(unfitted.obs["time"] == 0) & ~unfitted.obs["aside"]]
    assert set(simulated.obs["start_cell"]) == set(seen)


def test_start_weights_are_the_masses_of_the_fit(unfitted, fit_constant):
    unfitted.obs["size"] = np.arange(unfitted.n_obs) + 1.0
    fit_constant(unfitted, mass="size")
    weight = weights(simulate(unfitted), 0)
    np.testing.assert_allclose(weight, np.arange(1, 21) / np.arange(1, 21).sum(), rtol=1e-6)


@pytest.mark.parametrize("n_cells", [6, 50])
def test_a_draw_keeps_the_total_weight(drifting, n_cells):
    simulated = simulate(drifting, n_cells=n_cells)
    assert simulated.n_obs == 3 * n_cells
    assert weights(simulated, 0).sum() == pytest.approx(1)
    start = simulated.obs["start_cell"][:n_cells]
    assert start.is_unique == (n_cells == 6)


def test_the_seed_decides_the_draw(drifting):
    first, again, other = (simulate(drifting, n_cells=6, random_state=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first.obs, again.obs)
    assert first.obs["start_cell"].tolist() != other.obs["start_cell"].tolist()


def test_noise_spreads_as_sigma_says(unfitted, fit_constant, law):
    fit_constant(unfitted, sigma=0.5)
    start = np.zeros((4000, 2))
    simulated = simulate(unfitted, [0, 2], start=start, step=0.5)
    end = states(simulated, 2)
    # the score is zero, so that drift and velocity are the same
    np.testing.assert_allclose(end.mean(0), 2 * law.velocity, atol=5 * 0.5 * (2 / 4000) ** 0.5)
    np.testing.assert_allclose(end.std(0), 0.5 * 2**0.5, rtol=5 / (2 * 4000) ** 0.5)
    again = simulate(unfitted, [0, 2], start=start, step=0.5)
    np.testing.assert_array_equal(again.obsm["X_pca"], simulated.obsm["X_pca"])
    other = simulate(unfitted, [0, 2], start=start, step=0.5, random_state=1)
    assert not np.allclose(other.obsm["X_pca"], simulated.obsm["X_pca"])


def test_a_stochastic_model_goes_back_without_noise(unfitted, fit_constant):
    fit_constant(unfitted, sigma=0.5)
    back = simulate(unfitted, [2, 0], start=np.zeros((5, 2)), direction="backward")
    assert not back.uns["simulation"]["stochastic"]
    assert np.ptp(states(back, 0), axis=0) == pytest.approx(0)
    with pytest.raises(ValueError, match="backwards"):
        simulate(unfitted, direction="backward", stochastic=True)


def test_other_keys_and_fewer_dimensions(unfitted, fit_constant):
    unfitted.obsm["X_wide"] = np.hstack([unfitted.obsm["X_pca"], np.ones((unfitted.n_obs, 1))])
    fit_constant(unfitted, key="alt", use_rep="X_wide", n_dims=2)
    simulated = simulate(unfitted, key="alt")
    assert simulated.obsm["X_wide"].shape[1] == 2
    assert simulated.uns["simulation"]["key"] == "alt"


def test_a_fit_of_the_matrix_gives_a_matrix(unfitted, fit_constant):
    adata = anndata.AnnData(unfitted.obsm["X_pca"], obs=unfitted.obs)
    simulated = simulate(fit_constant(adata, use_rep="X"))
    assert simulated.shape == (60, 2)
    assert simulated.var_names.tolist() == adata.var_names.tolist()


def test_files_can_be_simulated_and_simulations_filed(trained, tmp_path):
    simulated = simulate(trained, [0, 1.5])
    trained.write_h5ad(tmp_path / "fitted.h5ad")
    again = simulate(anndata.read_h5ad(tmp_path / "fitted.h5ad"), [0, 1.5])
    np.testing.assert_array_equal(again.obsm["X_genes"], simulated.obsm["X_genes"])
    simulated.write_h5ad(tmp_path / "simulated.h5ad")
    back = anndata.read_h5ad(tmp_path / "simulated.h5ad")
    pd.testing.assert_frame_equal(back.obs, simulated.obs, check_categorical=False)
    assert dict(back.uns["simulation"]) == simulated.uns["simulation"]


def test_a_subset_of_the_cells_is_enough(drifting):
    simulated = simulate(drifting[drifting.obs["side"] == "up"].copy())
    assert set(simulated.obs["start_cell"]) <= set(drifting.obs_names[drifting.obs["side"] == "up"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "other"}, KeyError, "No fitted dynamics"),
        ({"direction": "backwards"}, ValueError, "Did you mean 'backward'"),
        ({"step": 0}, ValueError, "step=0"),
        ({"n_cells": 2.5}, ValueError, "n_cells=2.5"),
        ({"times": [1, 3]}, ValueError, "start cells are at time 0"),
        ({"times": [0, 1], "direction": "backward"}, ValueError, "start cells are at time 3"),
        ({"times": [0]}, ValueError, "at least two"),
        ({"times": 2.0}, ValueError, "at least two"),
        ({"times": ["day 1", "day 2"]}, ValueError, "times with 'day 1'; expected finite"),
        ({"times": [0, np.inf]}, ValueError, "Found times with inf"),
        ({"times": np.array(3.0)}, ValueError, "at least two"),
        ({"times": object()}, ValueError, "expected finite numbers"),
        ({"start": "nothing"}, KeyError, "start cells"),
        ({"start": "side"}, ValueError, "expected booleans"),
        ({"start": ["cell0", "cell20"]}, ValueError, r"at times \[0.0, 1.0\]"),
        ({"start": ["cell0", "cel1"]}, KeyError, "Did you mean 'cell1'"),
        ({"start": [True, False]}, ValueError, "mask of 2 cells"),
        ({"start": np.zeros(220, dtype=bool)}, ValueError, "names no cell"),
        ({"start": np.zeros((3, 5))}, ValueError, r"coordinates of shape \(n, 2\)"),
        ({"start": np.full((3, 2), np.nan)}, ValueError, "NaN"),
        ({"start": ["cell139"]}, ValueError, "at least two"),
        ({"stochastic": True}, ValueError, "deterministic"),
    ],
)
def test_what_cannot_be_simulated_is_refused(drifting, arguments, error, message):
    with pytest.raises(error, match=message):
        simulate(drifting, **arguments)


def test_unfitted_cells_are_refused(unfitted):
    with pytest.raises(KeyError, match="fit_dynamics"):
        simulate(unfitted)


def test_a_changed_representation_is_refused(drifting):
    drifting.obsm["X_pca"] = -drifting.obsm["X_pca"]
    with pytest.raises(ValueError, match="changed since the fit"):
        simulate(drifting)


def test_a_simulation_that_blows_up_is_an_error(unfitted, fit_constant):
    fit_constant(unfitted, growth=1e3)
    with pytest.raises(RuntimeError, match="finite numbers by time 1"):
        simulate(unfitted)
