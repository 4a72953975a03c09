"""Descendants, ancestors, transition tables and census: small known answers, and identities."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

import scruot

# two cells, then three, then two: cell b doubles, its daughters c1 and c2 merge with the other line
FIRST = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
SECOND = np.array([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]])
NAMES = ["a1", "a2", "b1", "b2", "b3", "c1", "c2"]
TYPES = ["stem", "blood", "stem", "blood", "blood", "stem", "blood"]


@pytest.fixture
def tiny():
    time = [0.0] * 2 + [1.0] * 3 + [3.0] * 2
    obs = pd.DataFrame({"time": time, "type": pd.Categorical(TYPES)}, index=NAMES)
    adata = AnnData(obs=obs)
    # by cell, mass of its descendants; the third time has a population of 3 in two cells
    mass = {0: 2, 1: 3, 3: 3}
    scruot.tl.import_couplings(adata, {(0, 1): FIRST, (1, 3): SECOND}, mass=mass)
    return adata


@pytest.fixture(scope="module")
def _coupled():
    adata = scruot.datasets.three_gene(60, random_state=0, n_times=4)
    scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    return adata


@pytest.fixture
def coupled(_coupled):
    return _coupled.copy()


def test_descendants_of_one_cell(tiny):
    scruot.tl.descendants(tiny, ["a2"])
    # c1 holds 1 + 1/4, of which 1/4 comes from a2
    expected = [0, 1, 0, 1, 1, 0.25 / 1.25, 1]
    np.testing.assert_allclose(tiny.obs["descendants"], expected)
    scruot.tl.descendants(tiny, ["a2"], values="mass")
    np.testing.assert_allclose(tiny.obs["descendants"], [0, 1, 0, 1, 1, 0.25, 1.75])


def test_ancestors_of_one_cell(tiny):
    scruot.tl.ancestors(tiny, ["c1"])
    # a2 has two descendants' worth of mass, a quarter of one in c1; masses at time 3 are 1.5 each
    expected = [1, 0.25 / 2, 1, 0.25, 0, 1, 0]
    np.testing.assert_allclose(tiny.obs["ancestors"], expected)
    scruot.tl.ancestors(tiny, ["c1"], values="mass")
    np.testing.assert_allclose(tiny.obs["ancestors"], [1, 0.25, 1, 0.25, 0, 1.5, 0])


def test_transition_table_of_three_times(tiny):
    forward = scruot.tl.transition_table(tiny, "type")
    assert forward.loc["stem"].tolist() == [0.0, 1.0]
    assert forward.columns.tolist() == ["blood", "stem"]
    assert forward.loc["blood"].tolist() == [0.875, 0.125]
    backward = scruot.tl.transition_table(tiny, "type", values="backward")
    assert backward["stem"].round(6).to_dict() == {"blood": 0.2, "stem": 0.8}
    mass = scruot.tl.transition_table(tiny, "type", values="mass")
    assert mass.loc["blood"].tolist() == [1.75, 0.25]
    flow = tiny.uns["transition_table"]["flow"]
    assert flow["mass"].sum() == pytest.approx(6.0)
    assert len(flow) == 5


def test_flows_between_single_times_have_a_mass_at_either_end(tiny):
    scruot.tl.transition_table(tiny, "type")
    entry = tiny.uns["transition_table"]
    flow = entry["flow"].set_index(["start", "source", "target"])
    assert flow["mass"].to_dict() == {
        (0, "stem", "stem"): 1,
        (0, "blood", "blood"): 2,
        (1, "stem", "stem"): 1,
        (1, "blood", "stem"): 0.25,
        (1, "blood", "blood"): 1.75,
    }
    # one cell of blood became two
    assert flow["mass_start"].to_dict() == {**flow["mass"].to_dict(), (0, "blood", "blood"): 1}
    population = entry["population"].set_index(["time", "group"])["mass"]
    assert population.to_dict() == {
        (0, "stem"): 1,
        (0, "blood"): 1,
        (1, "stem"): 1,
        (1, "blood"): 2,
        (3, "stem"): 1.5,
        (3, "blood"): 1.5,
    }


def test_flows_leave_out_what_has_no_label_or_no_descendant(tiny):
    tiny.obs.loc[["b1", "c2"], "type"] = None
    scruot.tl.transition_table(tiny, "type")
    flow = tiny.uns["transition_table"]["flow"].set_index(["start", "source", "target"])
    assert flow["mass"].to_dict() == {(0, "blood", "blood"): 2, (1, "blood", "stem"): 0.25}
    assert flow["mass_start"].to_dict() == {(0, "blood", "blood"): 1, (1, "blood", "stem"): 0.25}


def test_census_of_one_cell(tiny):
    census = scruot.tl.ancestor_census(tiny, ["c1"], groupby="type")
    assert census.loc[0.0].round(6).to_dict() == {"blood": 0.2, "stem": 0.8}
    assert census.loc[1.0].round(6).to_dict() == {"blood": 0.2, "stem": 0.8}
    assert census.loc[3.0].to_dict() == {"blood": 0.0, "stem": 1.0}


def test_growth_of_an_imported_coupling(tiny):
    expected = [0.0, np.log(2.0), 0.0, 0.0, 0.0, np.nan, np.nan]
    np.testing.assert_allclose(tiny.obs["transport_growth"], expected, atol=1e-12)


def test_rates_at_the_time_of_cells_are_between_both_intervals(tiny):
    found = scruot.get.transport(tiny).rates()
    # the first time looks ahead; b2 and b3 descend from a2, which doubled; c1 has 1 + 1/4 of b1, b2
    np.testing.assert_allclose(found[0], [0.0, np.log(2.0)], atol=1e-12)
    np.testing.assert_allclose(found[1], [0.0, np.log(2.0) / 2, np.log(2.0) / 2], atol=1e-12)
    np.testing.assert_allclose(found[2], [0.0, 0.0], atol=1e-12)
    assert [list(rates.index) for rates in found] == [NAMES[:2], NAMES[2:5], NAMES[5:]]


def test_rates_of_cells_without_ancestors_or_descendants(tiny):
    adata = tiny[:5].copy()
    plan = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    scruot.tl.import_couplings(adata, {(0, 1): plan}, mass={0: 2, 1: 3}, key_added="odd")
    first, last = scruot.get.transport(adata, key="odd").rates()
    assert first["a2"] == -np.inf
    assert np.isnan(last["b2"])
    assert last["b1"] == last["b3"] == first["a1"] == pytest.approx(np.log(3.0))


@pytest.mark.parametrize(
    "chosen",
    [
        ["a2"],
        np.array([False, True] + [False] * 5),
        pd.Index(["a2"]),
        "mine",
        {"type": "blood"},
        {"type": ["blood"]},
    ],
)
def test_a_set_can_be_given_in_any_way(tiny, chosen):
    tiny.obs["mine"] = tiny.obs_names == "a2"
    scruot.tl.descendants(tiny, chosen, source_time=0, times=3, key_added="x")
    expected = [0, 1, np.nan, np.nan, np.nan, 0.2, 1]
    np.testing.assert_allclose(tiny.obs["x"], expected)
    assert "descendants" not in tiny.obs


def test_complementary_sets_share_everything(coupled):
    lineages = coupled.obs.loc[coupled.obs["time"] == 0, "lineage"].unique()
    total = 0.0
    for name in lineages:
        scruot.tl.descendants(coupled, {"lineage": name}, source_time=0)
        total = total + coupled.obs["descendants"].to_numpy()
    np.testing.assert_allclose(total, 1.0, atol=1e-9)


def test_masses_of_descendants_are_those_of_the_ancestors(coupled):
    coupled.obs["chosen"] = np.arange(coupled.n_obs) % 3 == 0
    scruot.tl.descendants(coupled, "chosen", source_time=0, values="mass")
    at_end = coupled.obs["time"] == 3
    by_push = coupled.obs.loc[at_end, "descendants"].sum()
    found = scruot.get.transport(coupled)
    pulled = found.pull(source_time=0, target_time=3)
    assert by_push == pytest.approx(
        pulled[coupled.obs_names[coupled.obs["chosen"]].intersection(pulled.index)].sum()
    )


def test_tables_have_the_sums_that_they_promise(coupled):
    call = {"source_time": 1, "target_time": 3}
    forward = scruot.tl.transition_table(coupled, "lineage", **call)
    backward = scruot.tl.transition_table(coupled, "lineage", values="backward", **call)
    mass = scruot.tl.transition_table(coupled, "lineage", values="mass", **call)
    np.testing.assert_allclose(forward.sum(axis=1), 1.0)
    np.testing.assert_allclose(backward.sum(axis=0), 1.0)
    populations = coupled.obs.loc[coupled.obs["time"] == 3, "lineage"].value_counts()
    np.testing.assert_allclose(mass.sum(axis=0), populations[mass.columns], rtol=1e-9)
    composed = scruot.get.transport(coupled).coupling(1, 3)
    by_name = coupled.obs["lineage"].astype(str)
    rows, cols = by_name[composed.obs_names], by_name[composed.var_names]
    expected = composed.X[(rows == mass.index[0]).to_numpy()][
        :, (cols == mass.columns[-1]).to_numpy()
    ]
    assert mass.iloc[0, -1] == pytest.approx(expected.sum())


def test_results_survive_a_file_and_other_orders(coupled, tmp_path, rng):
    shuffled = coupled[rng.permutation(coupled.n_obs)].copy()
    for adata in (coupled, shuffled):
        scruot.tl.ancestors(adata, {"lineage": "transition"}, target_time=3)
        scruot.tl.transition_table(adata, "lineage")
        scruot.tl.ancestor_census(
            adata, {"lineage": "transition"}, groupby="lineage", target_time=3
        )
    pd.testing.assert_series_equal(
        shuffled.obs["ancestors"].loc[coupled.obs_names], coupled.obs["ancestors"], rtol=1e-12
    )
    shuffled.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert again.uns["transition_table"]["target_time"] == 3.0
    np.testing.assert_array_equal(
        again.uns["ancestor_census"]["shares"], shuffled.uns["ancestor_census"]["shares"]
    )


def test_group_names_that_h5ad_cannot_hold_as_columns(tiny, tmp_path):
    tiny.obs["type"] = tiny.obs["type"].cat.rename_categories({"blood": "B/T cell"})
    scruot.tl.transition_table(tiny, "type")
    tiny.write_h5ad(tmp_path / "a.h5ad")
    groups = anndata.read_h5ad(tmp_path / "a.h5ad").uns["transition_table"]["source_groups"]
    assert "B/T cell" in list(groups)


def test_cells_without_a_label_are_left_out(tiny, caplog):
    tiny.obs.loc["c1", "type"] = np.nan
    with caplog.at_level("INFO", logger="scruot"):
        table = scruot.tl.transition_table(tiny, "type")
    assert "1 of 2 cells at time 3 have no label" in caplog.text
    assert table.loc["blood"].tolist() == [1.0]
    # all that became of it is in the cell without a label
    assert table.loc["stem"].isna().all()


def test_a_subset_keeps_its_lineages(coupled):
    scruot.tl.ancestors(coupled, {"lineage": "transition"}, target_time=3)
    ends = coupled[coupled.obs["time"].isin([0, 3])].copy()
    expected = ends.obs["ancestors"].copy()
    scruot.tl.ancestors(ends, {"lineage": "transition"}, target_time=3)
    pd.testing.assert_series_equal(ends.obs["ancestors"], expected)


def test_a_table_needs_the_groups_of_all_cells(coupled):
    part = coupled[10:].copy()
    with pytest.raises(
        ValueError,
        match=r"adata lacks 10 of the 60 cells .* at time 0 .*'lineage' is unknown.*again",
    ):
        scruot.tl.transition_table(part, "lineage")
    assert "transition_table" not in part.uns
    other = coupled.copy()
    other.obs_names = [f"x{n}" for n in other.obs_names]
    with pytest.raises(ValueError, match=r"knows none of the cells of adata .*Restore the names"):
        scruot.tl.descendants(other, np.ones(other.n_obs, dtype=bool), source_time=0)


BAD = [
    ("nothing", {}, KeyError, r"No boolean column for source 'nothing' in obs"),
    ("time", {}, ValueError, r"source='time', a column of dtype float64; expected booleans"),
    (["cell"], {}, KeyError, r"Found 1 names of source that are no cells \(first: 'cell'"),
    (np.ones(3, dtype=bool), {}, ValueError, r"mask of 3 cells; expected one of all 7"),
    (np.ones((3, 2)), {}, ValueError, r"source of shape \(3, 2\)"),
    (np.zeros(7, dtype=bool), {}, ValueError, r"source names no cell"),
    ({"type": "bloood"}, {}, ValueError, r"Unknown group of obs\['type'\] 'bloood'. Did you mean"),
    ({"tpye": "blood"}, {}, KeyError, r"Did you mean 'type'\?"),
    ({"type": "blood"}, {}, ValueError, r"at several times \(cells by time: .*source_time"),
    ({"type": "blood"}, {"source_time": 2}, ValueError, r"time 2; expected one of \[0.0, 1.0, 3"),
    (["c1"], {}, ValueError, r"at the last time; expected one that has a time later"),
    (["a1"], {"times": 0}, ValueError, r"Found times \[0.0\]; expected later ones"),
    (["a1"], {"times": []}, ValueError, r"expected later ones"),
    (["a1"], {"source_time": 1}, ValueError, r"None of the 1 cells of source is at time 1"),
    (["a1"], {"values": "probabilty"}, ValueError, r"Did you mean 'probability'\?"),
    (["a1"], {"key": "wot"}, KeyError, r"No transport in uns\['wot'\] \(found transports \['tran"),
]


@pytest.mark.parametrize(("chosen", "options", "error", "message"), BAD)
def test_one_clear_message(tiny, chosen, options, error, message):
    before = tiny.obs.copy()
    with pytest.raises(error, match=message):
        scruot.tl.descendants(tiny, chosen, **options)
    pd.testing.assert_frame_equal(tiny.obs, before)


def test_a_damaged_entry_is_refused(tiny):
    tiny.uns["transport"]["couplings"]["0"] = csr_matrix(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"is damaged: its parts differ in size"):
        scruot.get.transport(tiny)
    del tiny.uns["transport"]["mass"]
    with pytest.raises(ValueError, match=r"no complete transport of scruot \(missing: \['mass'\]"):
        scruot.get.transport(tiny)


def test_a_boolean_series_is_matched_by_its_index(coupled, rng):
    inside = coupled.obs["time"].eq(1) & coupled.obs["lineage"].eq("transition")
    scruot.tl.descendants(coupled, inside)
    expected = coupled.obs["descendants"].copy()
    scruot.tl.descendants(coupled, inside.iloc[rng.permutation(coupled.n_obs)])
    pd.testing.assert_series_equal(coupled.obs["descendants"], expected)
    with pytest.raises(ValueError, match=r"an index other than the .* cell names"):
        scruot.tl.descendants(coupled, inside.iloc[1:])


@pytest.mark.parametrize("column", ["time", "lineage"])
def test_a_column_that_would_be_lost_is_kept(coupled, column):
    before = coupled.obs.copy()
    chosen = {"lineage": "transition"}
    with pytest.raises(ValueError, match=f"Found key_added='{column}'.*would be lost"):
        scruot.tl.descendants(coupled, chosen, source_time=1, key_added=column)
    with pytest.raises(ValueError, match="without '/'"):
        scruot.tl.ancestors(coupled, chosen, target_time=1, key_added="a/b")
    pd.testing.assert_frame_equal(coupled.obs, before)
    for _ in range(2):
        scruot.tl.descendants(coupled, chosen, source_time=1, key_added="mine")


# times by the user's own labels


@pytest.fixture
def labelled(tiny):
    tiny.obs["time"] = tiny.obs["time"].map({0.0: "day 0", 1.0: "day 1", 3.0: "day 3"})
    return tiny


def test_times_may_be_labels(labelled):
    columns = {}
    for name, source, later in (("number", 0, [3]), ("label", "day 0", "day 3")):
        scruot.tl.descendants(
            labelled, {"type": "stem"}, source_time=source, times=later, key_added=name
        )
        columns[name] = labelled.obs[name].to_numpy()
    np.testing.assert_array_equal(columns["label"], columns["number"])
    one = scruot.tl.transition_table(labelled, "type", source_time="day 1", target_time="day 3")
    pd.testing.assert_frame_equal(
        one, scruot.tl.transition_table(labelled, "type", source_time=1, target_time=3)
    )
    census = scruot.tl.ancestor_census(
        labelled, {"type": "stem"}, groupby="type", target_time="day 3"
    )
    assert census.index.tolist() == [0, 1, 3]
    pushed = scruot.get.transport(labelled).push(source_time="day 0", target_time="day 1")
    assert pushed.tolist() == [1, 1, 1]
    # a subset, in another order and without the first time, knows the labels that it has
    part = labelled[["c2", "b1"]].copy()
    assert scruot.get.transport(part).index("day 3") == 2


def test_labels_that_are_none_are_refused(labelled):
    with pytest.raises(ValueError, match=r"time 'day 2'; expected one of \['day 0', 'day 1', 'd"):
        scruot.tl.descendants(labelled, ["a2"], times="day 2")


def test_calibration_and_holdout_take_labels():
    adata = scruot.datasets.three_gene(40, random_state=0, n_times=3)
    options = {"use_rep": "X_genes", "progress": False}
    scruot.tl.fit_dynamics(adata, "wfr", holdout=1, key_added="number", **options)
    group = {"lineage": "transition"}
    found = [
        scruot.tl.calibrate_transport(adata, group, growth=0.2, source_time=1, use_rep="X_genes")
    ]
    adata.obs["time"] = adata.obs["time"].map(lambda t: f"day {t:g}")
    scruot.tl.fit_dynamics(adata, "wfr", holdout="day 1", key_added="label", **options)
    np.testing.assert_array_equal(
        adata.obsm["label_velocity_genes"], adata.obsm["number_velocity_genes"]
    )
    found.append(
        scruot.tl.calibrate_transport(
            adata, group, growth=0.2, source_time="day 1", use_rep="X_genes"
        )
    )
    assert found[0] == found[1]
    with pytest.raises(ValueError, match=r"hold out time 'day 7'.*\['day 0', 'day 1', 'day 2'\]"):
        scruot.tl.fit_dynamics(adata, "wfr", holdout="day 7", **options)
    with pytest.raises(ValueError, match=r"source_time='day 2'; expected one of \['day 0', 'day"):
        scruot.tl.calibrate_transport(
            adata, group, growth=0.2, source_time="day 2", use_rep="X_genes"
        )
