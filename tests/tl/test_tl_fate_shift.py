"""Shifts of fates between conditions: the test itself, its units, and what is refused."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import permutation_test

import scruot
from scruot.tl._permutation import permutation_shift
from tests.io._same import contents, same

FATES = ["left", "right"]


def make_cells(rng, *, shift=0.0, between=0.0, n_replicates=4, n_cells=30):
    """Return cells of two conditions at two times; replicates differ by themselves."""
    rows = []
    for time in (0.0, 1.0):
        for condition in ("control", "drug"):
            for k in range(n_replicates):
                mean = 0.5 + shift * (condition == "drug") * time + between * rng.normal()
                left = np.clip(mean + 0.1 * rng.normal(size=n_cells), 0, 1)
                name = f"{condition} {k} at {time:g}"
                rows += [(time, condition, name, p) for p in left]
    obs = pd.DataFrame(rows, columns=["time", "drug", "animal", "left"])
    obs.index = [f"c{i}" for i in range(len(obs))]
    obs["side"] = np.where(rng.random(len(obs)) < 0.5, "up", "down")
    left = obs.pop("left")
    table = pd.DataFrame({"left": left, "right": 1 - left})
    adata = AnnData(obs=obs, obsm={"fate_probabilities": table})
    names = np.asarray(FATES, dtype=object)
    adata.uns["fates"] = {"names": names, "source": "dynamics", "params": {}, "times": [1.0]}
    return adata


@pytest.fixture
def cells(rng):
    return make_cells(rng, shift=0.3)


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4), (5, 4)])
def test_exact_p_values_are_those_of_scipy(rng, sizes):
    values = rng.normal(size=(sum(sizes), 2))
    values[: sizes[0], 0] += 1.0
    chosen = np.arange(sum(sizes)) < sizes[0]
    found = permutation_shift(values, chosen, n_permutations=9999, rng=rng)
    for k in range(2):
        expected = permutation_test(
            (values[chosen, k], values[~chosen, k]),
            lambda a, b: abs(a.mean() - b.mean()),
            alternative="greater",
            n_resamples=np.inf,
        )
        assert found.p[k] == pytest.approx(expected.pvalue)
    one, two = values[chosen], values[~chosen]
    error = np.sqrt(one.var(0, ddof=1) / sizes[0] + two.var(0, ddof=1) / sizes[1])
    np.testing.assert_allclose(found.error, error)
    assert (found.p >= found.least).all()


def test_drawn_permutations_come_close_to_all(rng):
    values = rng.normal(size=(12, 1)) + np.repeat([0.9, 0.0], 6)[:, None]
    chosen = np.arange(12) < 6
    exact = permutation_shift(values, chosen, n_permutations=2000, rng=rng)
    drawn = permutation_shift(values, chosen, n_permutations=900, rng=rng)
    assert exact.least == pytest.approx(2 / 924)
    assert drawn.least == pytest.approx(1 / 901)
    assert drawn.p[0] == pytest.approx(exact.p[0], abs=0.05)


def test_no_p_value_is_below_the_least(rng):
    values = np.repeat([1.0, 0.0], 3)[:, None]
    found = permutation_shift(values, values[:, 0] > 0, n_permutations=99, rng=rng)
    assert found.p[0] == pytest.approx(0.1) == found.least


def test_a_shift_is_found_where_it_is(cells, tmp_path):
    table = scruot.tl.fate_shift(cells, "drug", replicate_key="animal")
    assert table["unit"].unique().tolist() == ["replicates"]
    assert (table[["n", "n_reference"]] == 4).all(axis=None)
    rows = table.set_index(["time", "fate"])
    assert rows.loc[(1.0, "left"), "shift"] == pytest.approx(0.3, abs=0.05)
    assert rows.loc[(1.0, "left"), "p"] == pytest.approx(2 / 70)
    assert rows.loc[(1.0, "right"), "shift"] == pytest.approx(-rows.loc[(1.0, "left"), "shift"])
    assert rows.loc[(0.0, "left"), "p"] > 0.05
    assert (table["q"] >= table["p"]).all()
    means = (
        cells.obsm["fate_probabilities"]["left"]
        .groupby([cells.obs["time"], cells.obs["drug"]])
        .mean()
    )
    assert rows.loc[(1.0, "left"), "mean"] == pytest.approx(means[1.0, "drug"])
    cells.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad").uns["fate_shift"]
    np.testing.assert_array_equal(read["p"], table["p"])


def test_replicates_that_differ_are_no_shift_of_conditions(caplog):
    p_replicates, p_cells = [], []
    for seed in range(20):
        adata = make_cells(np.random.default_rng(seed), between=0.15)
        found = scruot.tl.fate_shift(adata, "drug", replicate_key="animal")
        p_replicates += found.loc[found["fate"] == "left", "p"].tolist()
        found = scruot.tl.fate_shift(adata, "drug", n_permutations=199)
        p_cells += found.loc[found["fate"] == "left", "p"].tolist()
    # 40 tests without any effect: about two below 0.05, where cells would call most of them
    assert np.mean(np.array(p_replicates) < 0.05) <= 0.125
    assert np.mean(np.array(p_cells) < 0.05) > 0.5
    assert "units of the test are cells" in caplog.text


def test_groups_references_and_cells_without_a_fate(cells):
    cells.obsm["fate_probabilities"].iloc[:5] = np.nan
    table = scruot.tl.fate_shift(cells, "drug", reference="drug", groupby="side")
    assert set(table["group"]) == {"up", "down"}
    assert set(table["condition"]) == {"control"}
    late = table[(table["time"] == 1) & (table["fate"] == "left")]
    np.testing.assert_allclose(late["shift"], -0.3, atol=0.06)
    first = table[(table["time"] == 0) & (table["fate"] == "left")]
    assert (first["n"] + first["n_reference"]).sum() == 240 - 5


def test_few_replicates_are_reported(rng, caplog):
    adata = make_cells(rng, shift=0.3, n_replicates=2)
    table = scruot.tl.fate_shift(adata, "drug", replicate_key="animal")
    assert table["p_least"].tolist() == pytest.approx([1 / 3] * 4)
    assert "no p-value can be below 0.33" in caplog.text


def shared(adata):
    adata.obs["animal"] = "one"


def one_condition(adata):
    adata.obs["drug"] = "none"


def apart(adata):
    adata.obs["drug"] = np.where(adata.obs["time"] == 0, "a", "b")


BAD = [
    (shared, {"replicate_key": "animal"}, ValueError, "Replicate 'one' of obs.*several conditions"),
    (one_condition, {}, ValueError, r"Found one condition in obs\['drug'\] \('none'\)"),
    (apart, {}, ValueError, "No time has cells with a fate of 'a' and of another condition"),
    (None, {"reference": "contrl"}, ValueError, "Did you mean 'control'"),
    (None, {"replicate_key": "mouse"}, KeyError, "No replicate column 'mouse'"),
    (None, {"key": "other"}, KeyError, "No fates in uns"),
    (None, {"n_permutations": 0}, ValueError, "n_permutations=0; expected a whole number"),
]


@pytest.mark.parametrize(("spoil", "options", "error", "message"), BAD)
def test_one_clear_message(cells, spoil, options, error, message):
    if spoil is not None:
        spoil(cells)
    before = contents(cells)
    with pytest.raises(error, match=message):
        scruot.tl.fate_shift(cells, "drug", **options)
    assert same(contents(cells), before)
