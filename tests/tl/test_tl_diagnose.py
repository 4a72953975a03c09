"""Diagnosis: each check on cases that must pass and cases that must fail it, and the whole."""

import anndata
import numpy as np
import pandas as pd
import pytest

import scruot
from scruot.fates.reliability import reliability
from scruot.fates.reliability import scores as scores_of
from scruot.tl import _diagnosis as check
from scruot.tl._diagnosis_fates import calibration
from scruot.tl._diagnosis_fates import fates as check_fates
from tests.io._same import contents, same


def scores(split="observed", **figures):
    """Return an evaluation of two times, with W1 and population errors of the model."""
    rows = []
    for time, (model, mass) in figures["by_time"].items():
        for name, w1 in (("model", model), ("noise floor", 1.0)):
            rows.append((time, name, split, w1, mass if name == "model" else np.nan))
    return pd.DataFrame(rows, columns=["time", "comparison", "split", "w1", "mass_error"])


@pytest.mark.parametrize(
    ("worst", "verdict"), [(1.25, "good"), (1.3, "doubtful"), (2.1, "bad"), (np.inf, "bad")]
)
def test_observed_cells_by_the_worst_time(worst, verdict):
    found = check.observed(scores(by_time={1.0: (0.8, 0), 2.0: (worst, 0)}))
    assert found.verdict == verdict
    assert found.value == worst
    assert "time 2" in found.finding
    assert (found.remedy == "") == (verdict == "good")


@pytest.mark.parametrize(("model", "verdict"), [(1.05, "good"), (1.2, "doubtful"), (1.4, "bad")])
def test_held_out_cells_by_the_mean(model, verdict):
    table = scores("held-out cells", by_time={1.0: (model - 0.01, 0), 2.0: (model + 0.01, 0)})
    assert check.held_out_cells(table).verdict == verdict
    assert check.held_out_cells(scores(by_time={1.0: (1, 0)})).verdict == "not checked"


@pytest.mark.parametrize(("model", "verdict"), [(0.9, "good"), (1.1, "doubtful"), (1.5, "bad")])
def test_held_out_times_against_the_best_null(model, verdict):
    rows = pd.DataFrame({"time": [1.0, 2.0], "model": model, "linear": 1.0, "previous": 3.0})
    found = check.held_out_times(rows)
    assert found.verdict == verdict
    assert "'linear'" in found.finding
    # a null below the noise sets no standard: the noise does
    rows["noise floor"] = 2 * model
    found = check.held_out_times(rows)
    assert (found.verdict, found.value) == ("good", 0.5)
    assert "the sampling noise" in found.finding
    assert check.held_out_times(pd.DataFrame()).verdict == "not checked"


@pytest.mark.parametrize(("error", "verdict"), [(0.01, "good"), (0.1, "doubtful"), (0.2, "bad")])
def test_population_by_the_worst_time(error, verdict):
    found = check.population(scores(by_time={1.0: (1, 0.0), 2.0: (1, error)}))
    assert (found.verdict, found.value) == (verdict, error)


def test_mass_per_group_passes_over_small_groups():
    table = pd.DataFrame(
        {
            "time": 1.0,
            "group": ["big", "medium", "tiny"],
            "mass_observed": [0.8, 0.19, 0.01],
            "mass_error": [0.02, 0.04, 5.0],
        }
    )
    assert check.groups(table).verdict == "good"
    table.loc[1, "mass_error"] = 0.3
    found = check.groups(table)
    assert found.verdict == "bad"
    assert "'medium' is off by 30.0%" in found.finding
    # 19 % of 100 cells are known to 41 %, of 10 000 to 4 %
    assert check.groups(table, {1.0: 100}).verdict == "good"
    many = check.groups(table, {1.0: 10_000})
    assert many.verdict == "bad"
    assert "of which 4.1% may be sampling" in many.finding
    assert check.groups(None).verdict == "not checked"


@pytest.mark.parametrize(
    ("model", "stochastic", "observed", "verdict"),
    [
        (1.0, False, "good", "good"),
        (1.3, False, "good", "doubtful"),
        (2.0, False, "good", "bad"),
        # below the floor a flow misses the snapshots, unless it is known to meet them
        (0.5, False, "bad", "bad"),
        (0.5, False, "doubtful", "doubtful"),
        (0.5, False, "not checked", "doubtful"),
        (0.5, False, "good", "good"),
        # noise moves mass for nothing
        (0.5, True, "bad", "good"),
        (np.nan, False, "good", "not checked"),
    ],
)
def test_action_between_its_floor_and_detours(model, stochastic, observed, verdict):
    figures = {"model": model, "floor_dual": 0.99, "floor_primal": 1.0}
    found = check.action(figures, stochastic=stochastic, observed=observed)
    assert found.verdict == verdict
    assert bool(found.remedy) == (verdict != "good")


def test_a_smooth_law_through_rough_snapshots_is_no_bad_fit(unfitted, fit_constant):
    """The verdict on the action reads the one on observed cells."""
    fit_constant(unfitted)
    scruot.tl.evaluate(unfitted)
    entry = unfitted.uns["dynamics_evaluation"]["action"]
    # as in many dimensions, where chance places of cells cost as much as the way
    entry.update(floor_dual=1.5 * entry["model"], floor_primal=1.6 * entry["model"])
    table = scruot.tl.diagnose(unfitted).set_index("check")
    assert table.loc["observed cells", "verdict"] == "good"
    assert table.loc["action / floor", "verdict"] == "good"
    assert "within the noise of sampling" in table.loc["action / floor", "finding"]


def test_effective_cells_where_few_carry_all():
    assert check.sample_size(np.ones(50), 400).value == pytest.approx(1.0)
    few = np.concatenate([np.full(5, 100.0), np.full(95, 1e-3)])
    found = check.sample_size(few, 200)
    assert found.verdict == "bad"
    assert "rests on 5% of 200 simulated cells" in found.finding


@pytest.mark.parametrize(
    ("mass", "learned", "verdict"),
    [
        ("counts", True, "doubtful"),
        ("equal", True, "doubtful"),
        ({0: 1.0, 1: 2.0}, True, "good"),
        ("weights", True, "good"),
        ({0: 1.0, 1: 2.0}, False, "doubtful"),
    ],
)
def test_the_level_of_growth_rests_on_mass(mass, learned, verdict):
    assert check.growth_level(mass, learned=learned).verdict == verdict


def test_differences_of_growth_beside_their_uncertainty():
    growth = np.array([-1.0, 1.0])
    assert check.growth_differences(growth, np.full(2, 0.1)).verdict == "good"
    assert check.growth_differences(growth, np.full(2, 0.8)).verdict == "doubtful"
    assert check.growth_differences(growth, np.full(2, 3.0)).verdict == "bad"
    assert check.growth_differences(np.zeros(2), np.full(2, 0.1)).verdict == "bad"
    assert check.growth_differences(growth, None).verdict == "not checked"


def test_couplings_and_fates():
    assert check.couplings({"coupling_gap": 1e-5}).verdict == "good"
    assert check.couplings({"coupling_gap": 0.2}).verdict == "bad"
    assert check.couplings({}).verdict == "not checked"
    fine = {"spread_over_near": 1.2, "none_share": 0.0, "early_spread": 0.3, "early_time": 0.0}

    def of(record):
        return [c.verdict for c in check_fates(record, None)]

    assert of({"quality": fine}) == ["good", "good", "good", "not checked"]
    lost = {"spread_over_near": 4.0, "none_share": 0.5, "early_spread": 0.01, "early_time": 0.0}
    assert of({"quality": lost}) == ["bad", "bad", "bad", "not checked"]
    # probabilities that are all alike need no bad progenitors
    assert of({"quality": {**fine, "early_spread": 0.05}})[2] == "doubtful"
    old = {"spread_over_near": 1.2, "none_share": 0.0}
    assert of({"quality": old}) == ["good", "good", "not checked", "not checked"]
    assert of(None) == ["not checked"]


def curve(p, truth):
    names = [str(k) for k in range(p.shape[1])]
    return reliability(p, truth, names), scores_of(p, truth)


@pytest.mark.parametrize(
    ("power", "verdict", "words"),
    [(1.0, "good", "neither"), (8.0, "bad", "too sure"), (0.5, "doubtful", "too cautious")],
)
def test_probabilities_that_do_not_come_true(rng, power, verdict, words):
    true = rng.random(4000)
    told = true**power / (true**power + (1 - true) ** power)
    ended = rng.random(4000) < true
    p, truth = (np.column_stack([q, 1 - q]) for q in (told, ended.astype(float)))
    found = {c.check: c for c in calibration(curve(p, truth))}
    assert found["fates: calibration"].verdict == verdict
    assert words in found["fates: calibration"].finding
    assert (found["fates: calibration"].remedy == "") == (verdict == "good")
    # probabilities that never come true do harm
    wrong = {c.check: c for c in calibration(curve(p[:, ::-1], truth))}
    assert wrong["fates: skill"].verdict == wrong["fates: calibration"].verdict == "bad"


def test_few_known_fates_forgive_what_chance_does(rng):
    true = rng.random(60)
    p, truth = (np.column_stack([q, 1 - q]) for q in (true, (rng.random(60) < true) * 1.0))
    table, figures = curve(p, truth)
    few = calibration((table, figures))[0]
    assert few.verdict == "good"
    assert few.value < 0.5 * figures["calibration_error"]
    assert calibration((table.assign(n_cells=1), figures))[0].verdict == "not checked"
    # where all end alike there is nothing to be better at
    assert calibration((table, {**figures, "skill": np.nan}))[1].verdict == "not checked"


# the whole


def verdicts(adata, **options):
    return scruot.tl.diagnose(adata, **options).set_index("check")["verdict"]


def test_an_exact_model_passes(drifting, tmp_path):
    drifting.uns["dynamics"]["fit"] = {}
    found = verdicts(drifting, groupby="side")
    for name in ("observed cells", "population", "mass per group", "effective cells"):
        assert found[name] == "good", name
    assert found["growth: level"] == "doubtful"
    assert {"held-out cells", "held-out times", "action / floor", "fates"} <= set(
        found.index[found == "not checked"]
    )
    drifting.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(
        read.uns["dynamics_diagnosis"].astype(drifting.uns["dynamics_diagnosis"].dtypes),
        drifting.uns["dynamics_diagnosis"],
        check_index_type=False,
    )
    assert verdicts(read, groupby="side").equals(found)


def test_known_fates_are_compared_and_kept(drifting):
    height = drifting.obsm["X_pca"][:, 1]
    middle = np.median(height[drifting.obs["time"] == drifting.obs["time"].max()])
    drifting.obs["end"] = np.where(height > middle, "up", "down")
    scruot.tl.fate_probabilities(drifting, "end")
    assert verdicts(drifting)["fates: calibration"] == "not checked"
    drifting.obs["known"] = np.where(np.arange(drifting.n_obs) % 2, "up", "down")
    found = verdicts(drifting, fates_truth="known")
    assert {"fates: calibration", "fates: skill"} <= set(found.index[found != "not checked"])
    scores = drifting.uns["fate_calibration"]["scores"]
    again = scruot.tl.diagnose(drifting).set_index("check")
    assert again.loc["fates: skill", "value"] == scores["skill"]
    with pytest.raises(KeyError, match="knwn"):
        scruot.tl.diagnose(drifting, fates_truth="knwn")


def test_models_that_are_wrong_fail_where_they_are_wrong(unfitted, fit_constant):
    still = fit_constant(unfitted.copy(), velocity=[0.0, 0.0])
    found = verdicts(still)
    assert found["observed cells"] == "bad"
    assert found["population"] == "good"
    shrinking = fit_constant(unfitted.copy(), growth=0.0)
    found = verdicts(shrinking)
    assert found["observed cells"] == "good"
    assert found["population"] == "bad"


def test_what_was_left_out_is_read(unfitted, fit_constant):
    fit_constant(unfitted, holdout=1.0, holdout_cells=None)
    found = verdicts(unfitted)
    assert found["held-out times"] == "good"
    fit_constant(unfitted, velocity=[3.0, 3.0], holdout=1.0)
    del unfitted.uns["dynamics_evaluation"]
    assert verdicts(unfitted)["held-out times"] == "bad"


def test_missing_checks_are_computed_with_the_parameters_of_the_fit():
    adata = scruot.datasets.three_gene(80, random_state=0, n_times=3)
    options = {"use_rep": "X_genes", "n_dims": 2, "delta": 2.0, "progress": False}
    scruot.tl.fit_dynamics(adata, "wfr", **options, key_added="alt")
    before = contents(adata)
    table = scruot.tl.diagnose(adata, key="alt", compute=True, n_cells=80).set_index("check")
    assert table.loc[["held-out cells", "held-out times"], "value"].notna().all()
    after = contents(adata)
    assert set(after["uns"]) - set(before["uns"]) == {"alt_evaluation", "alt_diagnosis"}
    for name in ("alt_evaluation", "alt_diagnosis"):
        del after["uns"][name]
    assert same(after, before)
    # the same as by hand
    half = scruot.tl.fit_dynamics(adata, "wfr", **options, holdout_cells=0.5, copy=True)
    by_hand = check.held_out_cells(scruot.tl.evaluate(half, n_cells=80)).value
    assert table.loc["held-out cells", "value"] == pytest.approx(by_hand)
    folds = scruot.tl.cross_validate(
        adata,
        "wfr",
        use_rep="X_genes",
        n_dims=2,
        params={"wfr": {"delta": 2.0}},
        n_cells=80,
        progress=False,
    )
    energy = folds.set_index("method")["energy"]
    nulls = energy[["null: linear", "null: previous", "null: next"]]
    expected = energy["wfr"] / max(nulls.min(), energy["noise floor"])
    assert table.loc["held-out times", "value"] == pytest.approx(expected)
    # and now it is stored
    again = scruot.tl.diagnose(adata, key="alt", n_cells=80).set_index("check")
    assert again.loc["held-out times", "value"] == pytest.approx(expected)


def test_cross_validation_of_other_parameters_is_not_taken_for_this_fit():
    adata = scruot.datasets.three_gene(60, random_state=0, n_times=3)
    scruot.tl.fit_dynamics(adata, "wfr", use_rep="X_genes", progress=False)
    scruot.tl.cross_validate(
        adata, "wfr", use_rep="X_genes", params={"wfr": {"delta": 9.0}}, progress=False
    )
    assert verdicts(adata, n_cells=60)["held-out times"] == "not checked"


def test_a_copy_leaves_the_original_alone(drifting):
    before = contents(drifting)
    copy = scruot.tl.diagnose(drifting, copy=True)
    assert same(contents(drifting), before)
    assert len(copy.uns["dynamics_diagnosis"]) >= 10


BAD = [
    ({"key": "other"}, KeyError, "No fitted dynamics in uns"),
    ({"groupby": "sid"}, KeyError, "Did you mean 'side'"),
    ({"fates_key": "mine"}, KeyError, r"No fates in uns\['mine'\]"),
    ({"n_cells": 0}, ValueError, "n_cells=0; expected a whole number"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_one_clear_message(drifting, options, error, message):
    before = contents(drifting)
    with pytest.raises(error, match=message):
        scruot.tl.diagnose(drifting, **options)
    assert same(contents(drifting), before)
