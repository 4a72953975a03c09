"""Scores of a fit, and what they are compared with."""

import anndata
import numpy as np
import ot
import pandas as pd
import pytest

import scruot
from scruot.dynamics import passage
from scruot.metrics import energy_distance, mmd, w1, w2
from scruot.tl import evaluate

COLUMNS = ["time", "comparison", "split", "w1", "w2", "mmd", "energy"]
COLUMNS += ["mass", "mass_observed", "mass_error", "n_observed"]


def snapshot(adata, time, basis="X_pca"):
    return adata.obsm[basis][(adata.obs["time"] == time).to_numpy()]


def row(table, time, comparison, split):
    keys = zip(table["time"], table["comparison"], table["split"], strict=True)
    (found,) = [i for i, key in enumerate(keys) if key == (time, comparison, split)]
    return table.iloc[found]


def test_a_perfect_model_has_no_error(drifting):
    table = evaluate(drifting)
    assert table.columns.tolist() == COLUMNS
    model = table[table["comparison"] == "model"]
    assert model["time"].tolist() == [1, 3]
    assert model["mass_observed"].tolist() == [2, 8]
    assert model["n_observed"].tolist() == [40, 160]
    np.testing.assert_allclose(model[["w1", "w2", "mmd", "energy"]], 0, atol=1e-3)
    np.testing.assert_allclose(model["mass_error"], 0, atol=1e-5)


def test_a_wrong_model_is_found_out(unfitted, fit_constant, law):
    fit_constant(unfitted, velocity=law.velocity + np.array([0.1, 0]), growth=0.0)
    model = evaluate(unfitted).query("comparison == 'model'")
    np.testing.assert_allclose(model["w1"], [0.1, 0.3], rtol=1e-3)
    np.testing.assert_allclose(model["mass"], 1, rtol=1e-5)
    np.testing.assert_allclose(model["mass_error"], [1 / 2, 7 / 8], rtol=1e-5)


def test_nulls_are_what_they_say(drifting, law):
    table = evaluate(drifting)
    at = {t: snapshot(drifting, t) for t in law.times}
    expected = {
        (1, "previous"): (at[0], 1.0),
        (1, "next"): (at[3], 8.0),
        (1, "pooled"): (np.concatenate([at[0], at[3]]), np.nan),
        (3, "previous"): (at[1], 2.0),
        (3, "pooled"): (np.concatenate([at[0], at[1]]), np.nan),
    }
    nulls = table[~table["comparison"].isin(["model", "noise floor"])]
    assert set(zip(nulls["time"], nulls["comparison"], strict=True)) == set(expected)
    for (time, comparison), (cloud, mass) in expected.items():
        found = row(table, time, comparison, "observed")
        for name, distance in (("w1", w1), ("w2", w2), ("mmd", mmd), ("energy", energy_distance)):
            assert found[name] == pytest.approx(distance(cloud, at[time])), (time, comparison, name)
        assert found["mass"] == pytest.approx(mass, nan_ok=True)


def test_a_held_out_time_has_the_linear_null(trained):
    scruot.tl.fit_dynamics(trained, use_rep="X_genes", holdout=1, steps=2, progress=False)
    table = evaluate(trained)
    assert set(table.loc[table["time"] == 1, "split"]) == {"held-out time"}
    assert set(table.loc[table["time"] == 2, "split"]) == {"observed"}
    assert "linear" not in set(table.loc[table["time"] == 2, "comparison"])
    first, middle, last = (snapshot(trained, t, "X_genes").astype(float) for t in (0, 1, 2))
    plan = ot.emd([], [], ot.dist(first, last))
    i, j = np.nonzero(plan)
    halfway = (first[i] + last[j]) / 2
    linear = row(table, 1, "linear", "held-out time")
    assert linear["w1"] == pytest.approx(w1(halfway, middle, plan[i, j]))
    population = (1 + len(last) / len(first)) / 2
    assert linear["mass"] == pytest.approx(population)
    observed = len(middle) / len(first)
    assert linear["mass_error"] == pytest.approx(abs(population - observed) / observed)
    assert row(table, 1, "next", "held-out time")["w1"] == pytest.approx(w1(last, middle))


def test_the_linear_null_weighs_unequal_intervals(unfitted, fit_constant):
    table = evaluate(fit_constant(unfitted, holdout=1))
    linear = row(table, 1, "linear", "held-out time")
    # the clouds are copies on a straight line, a third of the way along
    assert linear["w1"] == pytest.approx(0, abs=1e-5)
    assert linear["mass"] == pytest.approx(1 + 7 / 3)


def test_times_outside_the_fit(unfitted, fit_constant):
    late = evaluate(fit_constant(unfitted.copy(), holdout=3))
    last = late[late["split"] == "held-out time"]
    assert set(last["comparison"]) == {"model", "previous", "pooled", "noise floor"}
    assert row(late, 3, "model", "held-out time")["w1"] == pytest.approx(0, abs=1e-5)
    early = evaluate(fit_constant(unfitted.copy(), holdout=0))
    assert set(early["time"]) == {3}


def test_held_out_cells_are_compared_by_themselves(unfitted, fit_constant):
    rng = np.random.default_rng(0)
    unfitted.obs["aside"] = rng.uniform(size=unfitted.n_obs) < 0.3
    fit_constant(unfitted, holdout_cells="aside")
    table = evaluate(unfitted)
    aside = unfitted.obs["aside"].to_numpy()
    seen, unseen = unfitted[~aside], unfitted[aside]
    for time in (1, 3):
        n_unseen = row(table, time, "model", "held-out cells")["n_observed"]
        assert n_unseen == len(snapshot(unseen, time))
        assert row(table, time, "model", "observed")["n_observed"] == len(snapshot(seen, time))
        floor = row(table, time, "noise floor", "held-out cells")
        expected = w1(snapshot(seen, time), snapshot(unseen, time))
        assert floor["w1"] == pytest.approx(expected)
        assert np.isnan(floor["mass"])
    previous = row(table, 3, "previous", "held-out cells")
    assert previous["w1"] == pytest.approx(w1(snapshot(seen, 1), snapshot(unseen, 3)))
    # populations count all cells
    assert previous["mass_observed"] == 8
    assert previous["mass"] == 2


def test_the_noise_floor_halves_a_snapshot(drifting):
    # one cell and its copy: halves are at distance zero or at the distance of the cells
    pair = np.array([[0, 0], [3, 4]], dtype=np.float32)
    at_one = np.flatnonzero(drifting.obs["time"] == 1)
    kept = drifting[[i for i in range(drifting.n_obs) if i not in at_one[2:]]].copy()
    del kept.uns["dynamics"]["representation"]["cells"]
    kept.obsm["X_pca"][(kept.obs["time"] == 1).to_numpy()] = pair
    table = evaluate(kept)
    assert row(table, 1, "noise floor", "held-out cells")["w1"] == pytest.approx(5)
    alone = kept[[name for name in kept.obs_names if name != kept.obs_names[at_one[0]]]].copy()
    table = evaluate(alone)
    assert "noise floor" not in set(table.loc[table["time"] == 1, "comparison"])
    assert row(table, 1, "model", "held-out cells")["n_observed"] == 1


def test_weighted_cells_count_by_their_weight(unfitted, fit_constant):
    rng = np.random.default_rng(1)
    unfitted.obs["size"] = rng.integers(0, 4, unfitted.n_obs).astype(float)
    table = evaluate(fit_constant(unfitted, mass="size"))
    size = {t: rows.to_numpy() for t, rows in unfitted.obs.groupby("time")["size"]}
    found = row(table, 3, "previous", "observed")
    expected = w1(snapshot(unfitted, 1), snapshot(unfitted, 3), size[1], size[3])
    assert found["w1"] == pytest.approx(expected)
    assert found["mass_observed"] == pytest.approx(size[3].sum() / size[0].sum())
    assert found["n_observed"] == (size[3] > 0).sum()


def test_a_mapping_of_masses_survives_the_file(unfitted, fit_constant, tmp_path):
    fit_constant(unfitted, mass={0: 10, 1: 15.0, 3: 40.0})
    unfitted.write_h5ad(tmp_path / "fitted.h5ad")
    again = anndata.read_h5ad(tmp_path / "fitted.h5ad")
    for adata in (unfitted, again):
        model = evaluate(adata).query("comparison == 'model'")
        assert model["mass_observed"].tolist() == [1.5, 4]


def test_subsets_are_fixed_by_the_seed(trained):
    tables = [evaluate(trained, n_cells=25, random_state=s) for s in (0, 0, 1)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not np.allclose(tables[0]["w1"], tables[2]["w1"])
    evaluation = trained.uns["dynamics_evaluation"]
    assert evaluation["parameters"]["n_cells"] == 25
    assert np.unique(evaluation["simulated"]["time"], return_counts=True)[1].tolist() == [25, 25]
    whole = evaluate(trained)
    # neither populations nor numbers of cells depend on the subset
    for name in ("mass", "mass_observed", "n_observed"):
        pd.testing.assert_series_equal(whole[name], tables[0][name])


def test_simulated_cells_carry_the_predicted_population(trained):
    table = evaluate(trained, n_cells=25).query("comparison == 'model'")
    simulated = trained.uns["dynamics_evaluation"]["simulated"]
    assert simulated["x"].shape == (50, 2)
    for time, mass in zip(table["time"], table["mass"], strict=True):
        total = simulated["weight"][simulated["time"] == time].sum()
        assert total == pytest.approx(mass, rel=1e-6)
    pieces = scruot.tl.simulate(trained).obs.groupby("time")["weight"].sum()
    np.testing.assert_allclose(pieces.iloc[1:], table["mass"], rtol=1e-5)


def test_the_action_is_that_of_the_law(drifting, law):
    evaluate(drifting)
    action = drifting.uns["dynamics_evaluation"]["action"]
    power = (law.velocity @ law.velocity + law.delta**2 * law.growth**2) / 2
    expected = power * (np.exp(3 * law.growth) - 1) / law.growth
    assert action["model"] == pytest.approx(expected, rel=1e-3)
    assert (action["floor_dual"], action["floor_primal"]) == (1.0, 1.5)


def test_the_action_ends_where_the_fit_ends(unfitted, fit_constant, law):
    evaluate(fit_constant(unfitted, holdout=3))
    power = (law.velocity @ law.velocity + law.delta**2 * law.growth**2) / 2
    expected = power * (np.exp(law.growth) - 1) / law.growth
    assert unfitted.uns["dynamics_evaluation"]["action"]["model"] == pytest.approx(
        expected, rel=1e-3
    )


def test_many_cells_are_carried_in_pieces(trained, monkeypatch):
    together = evaluate(trained)
    action = trained.uns["dynamics_evaluation"]["action"]["model"]
    monkeypatch.setattr(passage, "_NUMBERS", 1000)
    pd.testing.assert_frame_equal(evaluate(trained), together, rtol=1e-4)
    pieces = trained.uns["dynamics_evaluation"]["action"]["model"]
    assert pieces == pytest.approx(action, rel=1e-5)


@pytest.mark.parametrize("step", [0.5, 0.01, "adaptive"])
def test_steps_do_not_decide_the_score(trained, step):
    default = evaluate(trained).query("comparison == 'model'")
    other = evaluate(trained, step=step).query("comparison == 'model'")
    np.testing.assert_allclose(other[["w1", "mass"]], default[["w1", "mass"]], rtol=1e-2)
    assert trained.uns["dynamics_evaluation"]["parameters"]["step"] == step


def test_the_action_is_unknown_without_delta(drifting):
    drifting.uns["dynamics"]["resolved"] = {}
    drifting.uns["dynamics"]["fit"] = {}
    evaluate(drifting)
    assert np.isnan(list(drifting.uns["dynamics_evaluation"]["action"].values())).all()


def test_groups_sum_to_the_population(trained):
    table = evaluate(trained, groupby="lineage").query("comparison == 'model'")
    groups = trained.uns["dynamics_evaluation"]["groups"]
    assert groups.columns.tolist() == ["time", "group", "mass", "mass_observed", "mass_error"]
    assert set(groups["group"]) == {"transition", "quiescent"}
    total = groups.groupby("time")[["mass", "mass_observed"]].sum()
    np.testing.assert_allclose(total["mass"], table["mass"], rtol=1e-6)
    np.testing.assert_allclose(total["mass_observed"], table["mass_observed"])
    assert trained.uns["dynamics_evaluation"]["groupby"] == "lineage"


def test_groups_of_a_perfect_model_are_right(unfitted, fit_constant):
    # two groups far apart, so that the vote is beyond doubt
    up = (unfitted.obs["side"] == "up").to_numpy()
    unfitted.obsm["X_pca"][:, 1] += np.where(up, 50, 0)
    evaluate(fit_constant(unfitted), groupby="side")
    groups = unfitted.uns["dynamics_evaluation"]["groups"]
    np.testing.assert_allclose(groups["mass"], groups["mass_observed"], rtol=1e-5)
    np.testing.assert_allclose(groups["mass_error"], 0, atol=1e-5)
    share = up[(unfitted.obs["time"] == 0).to_numpy()].mean()
    found = groups.query("group == 'up' and time == 3")["mass_observed"].item()
    assert found == pytest.approx(8 * share)


def test_cells_may_lack_a_group(unfitted, fit_constant):
    at_one = (unfitted.obs["time"] == 1).to_numpy()
    nobody = at_one | (np.arange(unfitted.n_obs) % 5 == 0)
    unfitted.obs.loc[nobody, "side"] = np.nan
    fit_constant(unfitted)
    table = evaluate(unfitted, groupby="side").query("comparison == 'model'")
    groups = unfitted.uns["dynamics_evaluation"]["groups"]
    total = groups.groupby("time")["mass"].sum()
    np.testing.assert_allclose(total, table["mass"], rtol=1e-6)
    assert groups.query("time == 1")["mass_observed"].isna().all()
    assert groups.query("time == 3")["mass_observed"].sum() == pytest.approx(8)


def test_results_survive_the_file(trained, tmp_path):
    table = evaluate(trained, groupby="lineage")
    trained.write_h5ad(tmp_path / "evaluated.h5ad")
    again = anndata.read_h5ad(tmp_path / "evaluated.h5ad")
    stored = again.uns["dynamics_evaluation"]
    pd.testing.assert_frame_equal(stored["table"], table, check_dtype=False)
    groups = trained.uns["dynamics_evaluation"]["groups"]
    pd.testing.assert_frame_equal(stored["groups"], groups, check_dtype=False)
    pd.testing.assert_frame_equal(evaluate(again), table)


def test_a_copy_leaves_the_original_alone(drifting):
    before = set(drifting.uns)
    copy = evaluate(drifting, copy=True)
    assert set(drifting.uns) == before
    pd.testing.assert_frame_equal(copy.uns["dynamics_evaluation"]["table"], evaluate(drifting))


def test_the_returned_table_is_not_the_stored_one(drifting):
    table = evaluate(drifting)
    table["w1"] = 0.0
    assert (drifting.uns["dynamics_evaluation"]["table"]["w1"] > 0).any()


def test_each_fit_has_an_evaluation_of_its_own(unfitted, fit_constant):
    fit_constant(unfitted, key="alt")
    evaluate(unfitted, key="alt")
    assert set(unfitted.uns) == {"alt", "alt_evaluation"}


def test_cells_a_model_was_applied_to_are_held_out(trained):
    new = scruot.datasets.three_gene(50, random_state=1, n_times=3)
    scruot.tl.apply_dynamics(new, trained)
    table = evaluate(new)
    assert set(table["split"]) == {"held-out cells"}
    assert set(table["comparison"]) == {"model", "previous", "next", "pooled", "noise floor"}
    assert row(table, 2, "model", "held-out cells")["mass_observed"] == (
        (new.obs["time"] == 2).sum() / 50
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "other"}, KeyError, "No fitted dynamics"),
        ({"groupby": "sides"}, KeyError, "Did you mean 'side'"),
        ({"groupby": "score"}, ValueError, "expected groups"),
        ({"groupby": "empty"}, ValueError, "no label"),
        ({"n_cells": 0}, ValueError, "n_cells=0"),
        ({"step": -1.0}, ValueError, "step=-1.0"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(drifting, arguments, error, message):
    drifting.obs["score"] = 0.5
    drifting.obs["empty"] = pd.Categorical([None] * drifting.n_obs, categories=["a"])
    with pytest.raises(error, match=message):
        evaluate(drifting, **arguments)
    assert "dynamics_evaluation" not in drifting.uns


def test_cells_to_start_from_and_to_compare_with_are_needed(drifting):
    later = drifting[drifting.obs["time"] > 0].copy()
    with pytest.raises(ValueError, match="no fitted cells at the first fitted time 0"):
        evaluate(later)
    first = drifting[drifting.obs["time"] == 0].copy()
    with pytest.raises(ValueError, match="nothing to compare with"):
        evaluate(first)


def test_a_changed_representation_is_refused(drifting):
    drifting.obsm["X_pca"] = 2 * drifting.obsm["X_pca"]
    with pytest.raises(ValueError, match="changed since the fit"):
        evaluate(drifting)
