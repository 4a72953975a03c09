"""Fates within conditions, the test of their shift, and standard errors over replicates."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scruot
from scruot.fates import fate_settings, for_times
from scruot.tl._permutation import judged, permutation_shift, relabellings
from tests.io._same import contents, same

ENDS = {"left": -3.0, "right": 3.0}


def make_cells(rng, shares, *, n=12, times=(0.0, 1.0), followed=True):
    """Return cells that start alike and end left or right; ``shares`` go left, by replicate."""
    rows, x = [], []
    for name, (condition, share) in shares.items():
        for t in times:
            animal = name if followed else f"{name} at {t:g}"
            for i in range(n):
                kind = "start"
                if t == times[-1]:
                    kind = "left" if i < round(share * n) else "right"
                rows.append((t, condition, animal, kind))
                x.append(rng.normal(size=2) * 0.5 + [ENDS.get(kind, 0.0), 0.0])
    obs = pd.DataFrame(rows, columns=["time", "drug", "animal", "kind"])
    obs.index = [f"c{i}" for i in range(len(obs))]
    return AnnData(obs=obs, obsm={"X_pca": np.array(x, dtype=np.float32)})


def two(control, treated):
    """Return shares by replicate, of two conditions."""
    named = {f"control {k}": ("control", s) for k, s in enumerate(control)}
    return named | {f"drug {k}": ("drug", s) for k, s in enumerate(treated)}


def run(adata, **options):
    options = {"source": "transport", "condition_key": "drug", **options}
    return scruot.tl.fate_probabilities(adata, "kind", **options)


def mean_of_starts(adata, condition):
    """Return the share of all descendants that goes left: that of the last cells, exactly."""
    here = (adata.obs["time"] == 0) & (adata.obs["drug"] == condition)
    p = adata.obsm["fate_probabilities"].loc[here, "left"]
    return np.average(p, weights=adata.obs.loc[here, "expected_descendants"])


@pytest.fixture
def apart(rng):
    return make_cells(rng, two([0.75, 0.75, 0.5], [0.25, 0.0, 0.25]))


@pytest.mark.parametrize("source", ["transport", "dynamics"])
def test_each_condition_goes_where_its_own_cells_are(apart, source):
    if source == "dynamics":
        scruot.tl.fit_dynamics(apart, "wfr", progress=False)
    run(apart, source=source, n_permutations=None)
    assert mean_of_starts(apart, "control") == pytest.approx(2 / 3, abs=0.01)
    assert mean_of_starts(apart, "drug") == pytest.approx(1 / 6, abs=0.01)
    assert "fate_shift" not in apart.uns
    run(apart, source=source, condition_key=None)
    together = mean_of_starts(apart, "control") - mean_of_starts(apart, "drug")
    assert abs(together) < 0.15


def test_a_planted_shift_is_found_and_survives_a_file(apart, tmp_path):
    run(apart, replicate_key="animal", key_added="mine")
    table = apart.uns["mine_fate_shift"]
    assert table["unit"].unique().tolist() == ["replicates"]
    rows = table.set_index(["time", "fate"])
    # the most that three against three can say
    np.testing.assert_allclose(table["p"], 0.1)
    np.testing.assert_allclose(table["p_least"], 0.1)
    assert rows.loc[(0.0, "left"), "shift"] == pytest.approx(-0.5, abs=0.05)
    assert rows.loc[(1.0, "right"), "shift"] == pytest.approx(0.5)
    assert rows.loc[(0.0, "left"), "mean_reference"] == pytest.approx(2 / 3, abs=0.03)
    apart.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(back.uns["mine_fate_shift"]["p"], table["p"])
    # its replicates share their future, so the other test would find too much
    with pytest.raises(ValueError, match="no independent units"):
        scruot.tl.fate_shift(back, "drug", replicate_key="animal", key="mine")
    run(apart, condition_key=None, key_added="mine")
    assert "mine_fate_shift" not in apart.uns


def test_without_a_shift_the_given_conditions_are_one_way_among_equals(rng):
    # replicates differ, conditions do not: whichever names they have, the ways are the same
    shares = [0.0, 0.5, 1.0, 0.25, 0.75, 0.5]
    adata = make_cells(rng, two(shares[:3], shares[3:]), n=8)
    found = []
    for drug in ([0, 1, 2], [0, 3, 5]):
        animal = adata.obs["animal"].astype("category").cat.codes
        adata.obs["drug"] = np.where(animal.isin(drug), "control", "drug")
        run(adata, replicate_key="animal")
        found.append(adata.uns["fate_shift"].set_index(["time", "fate"]))
    np.testing.assert_allclose(found[0]["error"], found[1]["error"], rtol=1e-3)
    # 10 distinct ways; both are middling ones, where one coupling for each condition and its
    # replicates taken for independent would find either hardly varying
    for table in found:
        row = table.loc[(0.0, "left")]
        assert row["error"] > 0.1
        assert abs(row["shift"]) < 2 * row["error"]
        assert row["p"] > 0.15


def test_animals_that_are_killed_are_exchanged_within_their_time(rng, caplog):
    adata = make_cells(rng, two([0.9, 0.9], [0.1, 0.1]), n=10, followed=False)
    run(adata, replicate_key="animal")
    table = adata.uns["fate_shift"]
    # 6 ways at each of two times, and their mirror images
    np.testing.assert_allclose(table["p_least"], 1 / 18)
    # at the last time the others have no part in it
    np.testing.assert_allclose(table.loc[table["time"] == 1, "p"], 6 / 18)
    assert "no p-value can be below 0.056" in caplog.text


def test_cells_are_units_where_no_replicates_are_named(apart, caplog):
    run(apart, n_permutations=9)
    table = apart.uns["fate_shift"]
    assert table["unit"].unique().tolist() == ["cells"]
    np.testing.assert_allclose(table["p"], 0.1)
    assert "units of the test are cells" in caplog.text
    # one round cloud of two dimensions at the start is progenitors
    assert "progenitors" not in caplog.text
    assert apart.uns["fates"]["quality"]["progenitor_limit"] > 9


def test_a_condition_may_lack_a_time_between(rng):
    adata = make_cells(rng, two([0.75, 0.75], [0.25, 0.25]), times=(0.0, 1.0, 3.0))
    adata = adata[~((adata.obs["time"] == 1) & (adata.obs["drug"] == "drug"))].copy()
    run(adata, n_permutations=None)
    assert mean_of_starts(adata, "control") == pytest.approx(0.75, abs=0.03)
    assert mean_of_starts(adata, "drug") == pytest.approx(0.25, abs=0.03)


def test_settings_for_other_times_are_those_of_the_same_noise(rng):
    import torch

    xs = [torch.from_numpy(rng.normal(size=(30, 3))) for _ in range(3)]
    ones = [torch.ones(30)] * 3
    whole = fate_settings(xs, ones, [0.0, 1.0, 3.0])
    other = for_times(whole, [0.0, 1.0, 3.0], [0.0, 3.0])
    assert other.reg == pytest.approx([sum(whole.reg)])
    assert other.tau == pytest.approx([sum(whole.tau)])
    assert other.metric is whole.metric


def test_errors_over_replicates_are_those_of_a_mean_of_replicates(rng):
    shares = [0.25, 0.5, 0.75, 1.0]
    adata = make_cells(rng, {f"a{k}": ("all", s) for k, s in enumerate(shares)}, n=24)
    run(adata, condition_key=None, replicate_key="animal", n_bootstrap=25)
    error = adata.obsm["fate_probabilities_se"].loc[adata.obs["time"] == 0, "left"]
    # where all cells start alike a fate is the mean over replicates of their shares
    expected = np.std(shares, ddof=1) / 2
    # 25 draws tell a standard deviation to about a seventh
    assert error.mean() == pytest.approx(expected, rel=0.4)
    run(adata, condition_key=None, n_bootstrap=10)
    cells = adata.obsm["fate_probabilities_se"].loc[adata.obs["time"] == 0, "left"]
    # replicates that differ tell less than as many independent cells
    assert cells.mean() < 0.8 * error.mean()


def test_errors_within_conditions_draw_their_own_replicates(rng):
    adata = make_cells(rng, two([0.5, 0.5], [0.0, 1.0]), n=8)
    run(adata, replicate_key="animal", n_bootstrap=12, n_permutations=None)
    error = adata.obsm["fate_probabilities_se"]["left"][adata.obs["time"] == 0]
    drug = adata.obs.loc[error.index, "drug"] == "drug"
    # one of two animals is drawn: the drug's fates are then those of one that goes one way
    assert error[drug].mean() == pytest.approx(0.5, abs=0.15)
    assert error[~drug].mean() < 0.1


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4)])
def test_relabellings_give_the_p_values_of_the_other_test(rng, sizes):
    values = rng.normal(size=(sum(sizes), 2)) + np.repeat([0.8, 0.0], sizes)[:, None]
    chosen = np.arange(sum(sizes)) < sizes[0]
    ways, exact = relabellings(chosen, np.zeros(6, int), n_permutations=20, rng=rng)
    assert exact
    assert len(ways) == (10 if sizes == (3, 3) else 15)
    assert (ways[0] == chosen).all()
    others = np.stack([values[m].mean(0) - values[~m].mean(0) for m in ways])
    p, least = judged(others[0], others, exact=True)
    expected = permutation_shift(values, chosen, n_permutations=99, rng=rng)
    np.testing.assert_allclose(p, expected.p)
    assert least == pytest.approx(expected.least)


def test_drawn_relabellings_keep_their_strata(rng):
    strata = np.repeat([0, 1], 8)
    chosen = np.tile([True, False], 8)
    ways, exact = relabellings(chosen, strata, n_permutations=30, rng=rng)
    assert not exact
    assert len(ways) == 30
    assert all(mask[strata == s].sum() == 4 for mask in ways for s in (0, 1))
    assert len({tuple(mask) for mask in ways}) > 20
    assert judged(np.ones(1), np.zeros((30, 1)), exact=False)[0] == pytest.approx(1 / 31)


def spoil_last(adata):
    adata.obs["drug"] = np.where(adata.obs["time"] == 1, "control", adata.obs["drug"])
    adata.obs["animal"] = adata.obs["animal"] + adata.obs["drug"]


def spoil_coupled(adata):
    scruot.tl.transport(adata, "balanced", progress=False)


BAD = [
    (None, {"condition_key": "dose"}, KeyError, "No condition column 'dose'"),
    (None, {"condition_key": "kind"}, ValueError, "Condition 'left' has cells at times"),
    (spoil_last, {}, ValueError, r"Condition 'drug' has cells at times \[0.0\]; expected some at"),
    (spoil_coupled, {}, ValueError, "condition_key='drug' together with stored couplings"),
    (None, {"replicate_key": "kind"}, ValueError, "has cells of several conditions"),
    (None, {"n_permutations": 0}, ValueError, "n_permutations=0; expected a whole number"),
    (
        None,
        {"source": "dynamics", "stochastic": True},
        ValueError,
        "stochastic=True, where one model",
    ),
    (
        None,
        {"condition_key": None, "replicate_key": "animal"},
        ValueError,
        "replicate_key='animal', which would not be read",
    ),
    (
        None,
        {"condition_key": None, "replicate_key": "drug", "n_bootstrap": 2, "stochastic": True},
        ValueError,
        "replicate_key='drug' with stochastic=True",
    ),
    (
        spoil_last,
        {"condition_key": None, "replicate_key": "drug", "n_bootstrap": 2},
        ValueError,
        r"Found one replicate in obs\['drug'\] at time 1; expected at least two",
    ),
]


@pytest.mark.parametrize(("spoil", "options", "error", "message"), BAD)
def test_one_clear_message(apart, spoil, options, error, message):
    if spoil is not None:
        spoil(apart)
    before = contents(apart)
    with pytest.raises(error, match=message):
        run(apart, **options)
    assert same(contents(apart), before)
