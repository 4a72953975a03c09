"""Leaving times out, over methods, parameters and seeds."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

import scruot
from scruot.tl import cross_validate, evaluate, fit_dynamics

COLUMNS = ["method", "parameters", "time", "seed", "w1", "w2", "mmd", "energy", "mass_error"]
NULLS = [
    "null: linear",
    "null: wfr",
    "null: previous",
    "null: next",
    "null: pooled",
    "null: random",
    "noise floor",
]
QUICK = {"steps": 3, "width": 8, "batch_size": 32}
ARGUMENTS = {"use_rep": "X_genes", "progress": False}


@pytest.fixture(scope="module")
def _genes():
    return scruot.datasets.three_gene(25, random_state=0, n_times=4)


@pytest.fixture
def genes(_genes):
    return _genes.copy()


def test_every_fit_and_every_null_has_a_row(genes):
    sets = [QUICK, QUICK | {"delta": 1.5}]
    table = cross_validate(genes, params={"wfrfm": sets}, n_seeds=2, random_state=3, **ARGUMENTS)
    assert table.columns.tolist() == COLUMNS
    for time in (1, 2):
        rows = table[table["time"] == time]
        assert rows["method"].tolist() == 4 * ["wfrfm"] + NULLS
        assert rows["seed"].tolist() == [3, 4, 3, 4] + len(NULLS) * [3]
        given = [json.loads(text) for text in rows["parameters"]]
        assert given == [sets[0], sets[0], sets[1], sets[1]] + len(NULLS) * [{}]
    assert set(table["time"]) == {1, 2}
    assert (table[["w1", "w2"]] > 0).all(axis=None)


def test_a_row_is_what_fit_and_evaluate_give(genes):
    table = cross_validate(
        genes, "wfrfm", times=2, params={"wfrfm": QUICK}, random_state=5, **ARGUMENTS
    )
    fit_dynamics(genes, holdout=2, random_state=5, **QUICK, **ARGUMENTS)
    direct = evaluate(genes)
    direct = direct[direct["split"] == "held-out time"].set_index("comparison")
    by_name = table.set_index("method")
    # one stretch to the time here, several there: steps differ in the last digits
    model = by_name.loc["wfrfm", ["w1", "w2", "mass_error"]].to_numpy(dtype=float)
    expected = direct.loc["model", ["w1", "w2", "mass_error"]].to_numpy(dtype=float)
    np.testing.assert_allclose(model, expected, rtol=1e-3)
    for name in ("linear", "wfr", "previous", "next", "pooled"):
        for figure in ("w1", "w2", "mass_error"):
            found = by_name.loc[f"null: {name}", figure]
            assert found == pytest.approx(direct.loc[name, figure], nan_ok=True), (name, figure)


def test_nothing_but_the_table_is_written(genes, tmp_path):
    before = genes.copy()
    table = cross_validate(genes, params={"wfrfm": QUICK}, **ARGUMENTS)
    assert set(genes.uns) - set(before.uns) == {"cross_validation"}
    pd.testing.assert_frame_equal(genes.obs, before.obs)
    assert set(genes.obsm) == set(before.obsm)
    genes.write_h5ad(tmp_path / "scored.h5ad")
    again = anndata.read_h5ad(tmp_path / "scored.h5ad").uns["cross_validation"]
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


def test_the_same_call_gives_the_same_table(genes):
    params = {"wfrfm": QUICK}
    one = cross_validate(genes, times=[1], params=params, n_cells=15, **ARGUMENTS)
    two = cross_validate(
        genes, times=[1], params=params, n_cells=15, key_added="other", copy=True, **ARGUMENTS
    )
    pd.testing.assert_frame_equal(one, two.uns["other"])
    assert "other" not in genes.uns


def test_the_last_time_is_an_extrapolation(genes):
    table = cross_validate(genes, times=np.int64(3), params={"wfrfm": QUICK}, **ARGUMENTS)
    assert table["method"].tolist() == ["wfrfm", "null: previous", "null: pooled", "noise floor"]


def test_populations_follow_the_mass_rule(genes):
    mass = {0: 1.0, 1: 4.0, 2: 2.0, 3: 8.0}
    table = cross_validate(genes, times=1, mass=mass, params={"wfrfm": QUICK}, **ARGUMENTS)
    errors = table.set_index("method")["mass_error"]
    assert errors["null: previous"] == pytest.approx(3 / 4)
    assert errors["null: next"] == pytest.approx(1 / 2)
    assert errors["null: linear"] == pytest.approx(2.5 / 4)
    assert errors[["null: pooled", "noise floor"]].isna().all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"methods": "wfrfn"}, ValueError, "Did you mean 'wfrfm'"),
        ({"methods": ()}, ValueError, "no method"),
        ({"params": {"wfrfn": {}}}, ValueError, "method in params 'wfrfn'"),
        ({"params": {"wfrfm": {"detla": 1}}}, TypeError, "Did you mean 'delta'"),
        ({"params": {"wfrfm": [{"delta": -1.0}]}}, ValueError, "delta"),
        ({"params": {"wfrfm": ["delta"]}}, TypeError, "list of dicts"),
        ({"params": [{"delta": 1.0}]}, TypeError, "mapping from method"),
        ({"times": 0}, ValueError, "Cannot leave out times"),
        ({"times": [1, 1.5]}, ValueError, r"\[1.5\]"),
        ({"times": "day 2"}, ValueError, r"times='day 2'; expected some of \[1.0, 2.0, 3.0\]"),
        ({"n_seeds": 0}, ValueError, "n_seeds=0"),
        ({"time_key": "tiem"}, KeyError, "Did you mean 'time'"),
        ({"use_rep": "X_gene"}, KeyError, "X_genes"),
        ({"key_added": "a/b"}, ValueError, "'a/b'; expected a name"),
        ({"key_added": "truth"}, ValueError, "no table and would be lost"),
    ],
)
def test_what_cannot_be_validated_is_refused(genes, arguments, error, message):
    with pytest.raises(error, match=message):
        cross_validate(genes, **(ARGUMENTS | arguments))
    assert "cross_validation" not in genes.uns


def test_a_time_by_its_label(genes):
    options = {"params": {"transport": {"method": "wfr"}}, **ARGUMENTS}
    one = cross_validate(genes, "transport", times=2, **options)
    genes.obs["time"] = genes.obs["time"].map(lambda t: f"day {t:g}")
    two = cross_validate(genes, "transport", times="day 2", **options)
    pd.testing.assert_frame_equal(one, two)
    with pytest.raises(ValueError, match=r"times='day 9'; expected some of \['day 1', 'day 2', "):
        cross_validate(genes, "transport", times="day 9", **options)


def test_two_times_are_too_few(genes):
    early = genes[genes.obs["time"] < 2].copy()
    with pytest.raises(ValueError, match="at least three"):
        cross_validate(early, **ARGUMENTS)


def test_transports_are_compared_by_what_they_say_of_a_time_left_out(genes):
    genes.obs["rate"] = genes.obs["growth_true"]
    sets = [
        {"method": "balanced", "reg": 0},
        {"method": "wfr"},
        {"tau": (1.0, np.inf), "growth": "rate"},
        {"method": "partial", "moved": 0.8},
    ]
    table = cross_validate(genes, "transport", params={"transport": sets}, **ARGUMENTS)
    rows = table[table["time"] == 2]
    assert rows["method"].tolist() == 4 * ["transport"] + NULLS
    assert [json.loads(t) for t in rows["parameters"][:4]][:2] == sets[:2]
    by_name = rows.set_index("method")
    # balanced transport along straight lines is the linear null
    balanced, linear = rows.iloc[0], by_name.loc["null: linear"]
    for figure in ("w1", "energy", "mass_error"):
        assert balanced[figure] == pytest.approx(linear[figure], rel=1e-4), figure
    assert by_name.loc["null: random", "w1"] > by_name.loc["null: linear", "w1"]
    assert len(set(rows["w1"][:4])) == 4


def test_transports_do_not_extrapolate(genes):
    before = genes.uns.copy()
    with pytest.raises(ValueError, match=r"Cannot predict time 3 .* couplings need a later time"):
        cross_validate(genes, "transport", times=[2, 3], **ARGUMENTS)
    genes.obs["rate"] = np.nan
    for params, error, message in (
        ({"growth": "rate"}, ValueError, r"rates that are missing or infinite"),
        ({"growth": "rte"}, KeyError, r"No growth prior 'rte' in obs.*Did you mean 'rate'\?"),
        ({"tua": 1}, TypeError, r"Unknown parameter of transport 'tua'. Did you mean 'tau'\?"),
        ({"tau": -1}, ValueError, r"tau=-1; expected a positive number"),
    ):
        with pytest.raises(error, match=message):
            cross_validate(genes, "transport", params={"transport": params}, **ARGUMENTS)
    with pytest.raises(ValueError, match=r"Unknown method 'transprot'. Did you mean 'transport'\?"):
        cross_validate(genes, "transprot", **ARGUMENTS)
    assert genes.uns.keys() == before.keys()
