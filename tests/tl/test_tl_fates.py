"""tl.fate_probabilities and tl.terminal_states through the public API."""

import logging

import anndata
import numpy as np
import pandas as pd
import pytest

import scruot
from scruot._keys import fate_slots
from scruot.io.fates import NONE
from scruot.tl._fate_trust import warn

ARGS = {"use_rep": "X_sim"}


@pytest.fixture(scope="module")
def data():
    adata = scruot.datasets.branching(900, 6, n_continue=64, dt=0.05, random_state=20)
    population = adata.uns["truth"]["population"]
    adata.uns["mass"] = dict(zip(population["time"], population["size"], strict=True))
    return adata


@pytest.fixture
def cells(data):
    return data.copy()


@pytest.fixture(scope="module")
def fitted(data):
    adata = data.copy()
    mass = adata.uns.pop("mass")
    scruot.tl.fit_dynamics(adata, "wfr", use_rep="X_sim", mass=mass, progress=False)
    return adata


def run(adata, groupby="cell_type", **options):
    mass = adata.uns.pop("mass", None)
    if options.get("source", "transport") == "transport" and "transport" not in adata.uns:
        options = {**ARGS, "mass": mass, **options}
    scruot.tl.fate_probabilities(adata, groupby, **{"source": "transport", **options})
    return adata.obsm[fate_slots(options.get("key_added")).probabilities]


def truth_scores(adata, p, early):
    truth = adata.obsm["fate_true"][early]
    guess = p.to_numpy()[early]
    r = np.mean([np.corrcoef(guess[:, k], truth[:, k])[0, 1] for k in range(3)])
    null = np.mean((truth - truth.mean(0)) ** 2)
    return r, 1 - np.mean((guess - truth) ** 2) / null


def test_slots_and_sums(cells):
    p = run(cells)
    assert list(p.columns) == ["A", "B", "C"]
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert list(cells.obs["fate"].cat.categories) == ["A", "B", "C"]
    best = p.columns[p.to_numpy().argmax(1)]
    assert (cells.obs["fate"].astype(str) == best).all()
    entropy = cells.obs["fate_entropy"]
    assert entropy.between(0, 1).all()
    last = cells.obs["time"] == 4
    np.testing.assert_allclose(entropy[last], 0.0, atol=1e-12)
    kind = cells.obs["cell_type"].astype(str)
    assert (cells.obs["fate"].astype(str) == kind)[last].all()
    assert cells.obs["terminal_states"].notna().sum() == last.sum()
    np.testing.assert_allclose(cells.obs.loc[last, "expected_descendants"], 1.0)


def test_expected_descendants_add_up_to_the_last_population(cells):
    mass = dict(cells.uns["mass"])
    run(cells)
    for t in (0.0, 1.0, 2.0, 3.0):
        here = cells.obs["time"] == t
        grown = cells.obs.loc[here, "expected_descendants"].mean() * mass[t]
        assert grown == pytest.approx(mass[4.0], rel=1e-3)


@pytest.mark.parametrize(
    ("source", "least"), [("transport", (0.85, 0.5)), ("dynamics", (0.85, 0.5))]
)
def test_early_fates_are_right_and_not_overconfident(source, least, cells, fitted):
    adata = cells if source == "transport" else fitted.copy()
    p = run(adata, source=source)
    r, skill = truth_scores(adata, p, (adata.obs["time"] <= 1).to_numpy())
    assert r > least[0]
    assert skill > least[1]


def test_stored_couplings_are_used(cells):
    mass = cells.uns.pop("mass")
    scruot.tl.transport(cells, "balanced", mass=mass, progress=False, **ARGS)
    p = run(cells)
    couplings = scruot.get.transport(cells)
    last = cells[couplings.cells[4]].obs["cell_type"]
    for fate in "ABC":
        share = couplings.pull(
            (last == fate) * couplings.mass[4], source_time=0, target_time=4
        ) / couplings.pull(source_time=0, target_time=4)
        np.testing.assert_allclose(p.loc[couplings.cells[0], fate], share, atol=1e-9)
    with pytest.raises(ValueError, match="stored couplings"):
        scruot.tl.fate_probabilities(cells, "cell_type", source="transport", use_rep="X_sim")


def test_cells_without_a_label_are_judged_by_their_neighbours(cells):
    full = run(cells).copy()
    cells.uns.pop("fates")
    hidden = (cells.obs["time"] == 4) & (np.arange(cells.n_obs) % 2 == 0)
    known = cells.obs["cell_type"].copy()
    cells.obs["cell_type"] = known.where(~hidden)
    mass = dict(zip(range(5), cells.uns["truth"]["population"]["size"], strict=True))
    p = run(cells, mass=mass)
    right = (cells.obs.loc[hidden, "fate"].astype(str) == known[hidden].astype(str)).mean()
    assert right > 0.9
    early = (cells.obs["time"] <= 1).to_numpy()
    all_known, half_known = (truth_scores(cells, q, early)[0] for q in (full, p))
    assert half_known > all_known - 0.05


def test_cells_of_the_end_in_no_state_are_counted_with_a_remedy(cells, caplog):
    last = cells.obs["time"] == 4
    n_other = int((cells.obs.loc[last, "cell_type"] == "C").sum())
    with caplog.at_level(logging.WARNING, logger="scruot"):
        p = run(cells, terminal_states=["A", "B"])
    assert p[last].isna().any(axis=1).sum() == n_other
    assert f"{n_other} of {last.sum()} cells of time 4 are in no terminal state" in caplog.text
    assert "none=True" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="scruot"):
        p = run(cells, terminal_states=["A", "B"], none=True)
    assert p.notna().all(axis=None)
    assert "have no fate" not in caplog.text


def test_states_may_end_before_the_last_time(cells):
    core = cells.obsm["X_core"]
    # one side of the first fork
    leaving = (cells.obs["time"] == 2) & (core[:, 1] > 0.5 * core[:, 0])
    kind = cells.obs["cell_type"].astype(str).where(~leaving, "leaver")
    kind[(cells.obs["time"] != 4) & ~leaving] = np.nan
    cells.obs["kind"] = kind
    p = run(cells, "kind", terminal_states=["A", "B", "C", "leaver"])
    assert list(p.columns) == ["A", "B", "C", "leaver"]
    np.testing.assert_allclose(p.loc[leaving, "leaver"], 1.0)
    np.testing.assert_allclose(cells.obs.loc[leaving, "expected_descendants"], 1.0)
    # those that stay at the time of the exit are not in it
    later = (cells.obs["time"] == 3).to_numpy()
    np.testing.assert_allclose(p.loc[later, "leaver"], 0.0)
    early = (cells.obs["time"] <= 1).to_numpy()
    high = core[:, 1] > 0.5 * core[:, 0]
    assert p.loc[early & high, "leaver"].mean() > 2 * p.loc[early & ~high, "leaver"].mean()


def test_sets_of_cells_and_cells_that_cannot_have_a_fate(cells):
    core = cells.obsm["X_core"]
    middle = cells.obs["time"] == 2
    sets = {"up": (middle & (core[:, 1] > 1)).to_numpy(), "down": middle & (core[:, 1] <= 1)}
    p = run(cells, None, terminal_states=sets)
    assert list(p.columns) == ["up", "down"]
    late = (cells.obs["time"] > 2).to_numpy()
    assert p[late].isna().all(axis=None)
    assert cells.obs.loc[late, "fate"].isna().all()
    np.testing.assert_allclose(p[~late].sum(axis=1), 1.0)


def test_none_of_these(cells):
    p = run(cells, terminal_states=["A", "B"], none=True)
    assert list(p.columns) == ["A", "B", NONE]
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    last = cells.obs["time"] == 4
    is_c = cells.obs["cell_type"] == "C"
    np.testing.assert_allclose(p.loc[last & is_c, NONE], 1.0)
    table = scruot.get.fates_df(cells)
    assert NONE in table.columns


def test_without_a_snapshot_of_progenitors_a_warning_says_so(cells, caplog):
    late = cells[cells.obs["time"] >= 3].copy()
    late.uns.pop("mass")
    with caplog.at_level(logging.WARNING, logger="scruot"):
        run(late)
    assert "No snapshot looks like progenitors" in caplog.text
    figures = late.uns["fates"]["quality"]
    assert figures["spread_over_near"] > figures["progenitor_limit"] == 2
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="scruot"):
        run(cells)
    assert "progenitors" not in caplog.text
    assert cells.uns["fates"]["quality"]["spread_over_near"] < 2


def test_early_cells_that_are_all_told_the_same_are_warned_of(rng, caplog):
    """Progenitors that chance alone tells apart: sound noise, and no information."""
    ends = 4.0 * np.sign(rng.random(120) - 0.5)
    x = rng.normal(size=(240, 3)) * np.repeat([1e-3, 1.0], 120)[:, None]
    x[120:, 0] += ends
    obs = pd.DataFrame(
        {"time": np.repeat([0.0, 1.0], 120), "end": ["on the way"] * 120 + list(ends.astype(str))}
    )
    adata = anndata.AnnData(obs=obs.set_index(obs.index.astype(str)), obsm={"X_sim": x})
    scruot.tl.fate_probabilities(adata, "end", source="transport", use_rep="X_sim")
    figures = adata.uns["fates"]["quality"]
    p = adata.obsm["fate_probabilities"].to_numpy()[:120]
    mean = p.mean(0)
    expected = np.sqrt(p.var(0).sum() / (mean * (1 - mean)).sum())
    assert figures["early_time"] == 0.0
    assert figures["early_spread"] == pytest.approx(expected, rel=1e-6)
    assert expected < 0.02
    assert "All cells of time 0 have nearly the same probabilities" in caplog.text
    assert "scruot.tl.import_couplings" in caplog.text
    # cells that lie apart from the start are told apart, without a word
    caplog.clear()
    adata.obsm["X_sim"][:120, 0] = np.repeat([-4.0, 4.0], 60) + rng.normal(size=120)
    scruot.tl.fate_probabilities(adata, "end", source="transport", use_rep="X_sim")
    assert adata.uns["fates"]["quality"]["early_spread"] > 0.9
    assert "nearly the same" not in caplog.text


def test_survives_h5ad_and_odd_names(cells, tmp_path):
    cells.obs["cell_type"] = cells.obs["cell_type"].cat.rename_categories({"A": "Ery/Mk"})
    cells.uns["cell_type_colors"] = ["#000001", "#000002", "#000003", "#000004", "#000005"]
    run(cells, key_added="mine")
    cells.write_h5ad(tmp_path / "fates.h5ad")
    back = anndata.read_h5ad(tmp_path / "fates.h5ad")
    table = scruot.get.fates_df(back, key="mine")
    # squared distances of the rule: states have unit variance in it
    metric = back.uns["mine"]["metric"]
    last = cells[cells.obs["time"] == 4]
    flat = pd.DataFrame(last.obsm["X_sim"] @ metric, index=last.obs_names)
    within = flat - flat.groupby(last.obs["cell_type"], observed=True).transform("mean")
    np.testing.assert_allclose((within**2).sum() / (len(flat) - 3), 1.0, rtol=1e-3)
    assert list(table.columns[:3]) == ["Ery/Mk", "B", "C"]
    pd.testing.assert_frame_equal(table, scruot.get.fates_df(cells, key="mine"))
    assert list(back.uns["mine_fate_colors"]) == ["#000003", "#000004", "#000005"]
    assert "fate" not in back.obs


def test_copy_leaves_the_original_alone(cells):
    before = set(cells.obs.columns)
    made = scruot.tl.fate_probabilities(
        cells, "cell_type", source="transport", use_rep="X_sim", copy=True
    )
    assert set(cells.obs.columns) == before
    assert "fate" in made.obs


def test_terminal_states_are_found_with_reasons(cells):
    mass = cells.uns["mass"]
    table = scruot.tl.terminal_states(cells, "cell_type", mass=mass, **ARGS)
    assert table.loc[table["proposed"], "group"].tolist() == ["A", "B", "C"]
    assert table.set_index("group").loc["progenitor", "reason"].startswith("last seen")
    p = run(cells, None)
    assert list(p.columns) == ["A", "B", "C"]
    with pytest.raises(ValueError, match="looks like an end"):
        scruot.tl.terminal_states(cells, "cell_type", min_kept=1.1, mass=mass, **ARGS)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"source": "model"}, ValueError, "dynamics"),
        ({"groupby": "cell_typ"}, KeyError, "cell_type"),
        ({"groupby": None}, ValueError, "terminal_states"),
        ({"terminal_states": ["A", "D"]}, ValueError, "no group"),
        ({"terminal_states": ["A"]}, ValueError, "at least two"),
        ({"groupby": None, "terminal_states": ["A", "B"]}, ValueError, "groupby"),
        ({"terminal_states": {"a": ["cell1"], "b": ["cell1"]}}, ValueError, "both"),
        ({"source": "dynamics"}, KeyError, "fit_dynamics"),
        ({"key": "other"}, KeyError, "transport"),
        ({"n_simulations": 0}, ValueError, "n_simulations"),
        ({"use_rep": "X_none"}, KeyError, "X_sim"),
    ],
)
def test_bad_input(cells, options, error, words):
    before = set(cells.obs.columns)
    given = {"groupby": "cell_type", "source": "transport", **options}
    if given["source"] == "transport" and "key" not in given:
        given.setdefault("use_rep", "X_sim")
    groupby = given.pop("groupby")
    with pytest.raises(error, match=words):
        scruot.tl.fate_probabilities(cells, groupby, **given)
    assert set(cells.obs.columns) == before
    assert "fates" not in cells.uns


def test_states_that_no_cell_could_reach_name_their_remedy(cells):
    left, right = (cells.obs["cell_type"] == name for name in ("A", "B"))
    cells.obs["weight"] = np.where(left, 0.0, 1.0)
    cells.obs["only"] = pd.Categorical(np.where(left, "A", None))
    first = (cells.obs["time"] == 0).to_numpy()
    half = first & (np.arange(len(first)) % 2 == 0)
    weighed = {**ARGS, "mass": "weight"}
    for states, options, remedy in (
        ({"left": left, "right": right}, weighed, "leave the set out, or give its cells mass"),
        ({"left": left, "all": left | right}, ARGS, "take them out of one"),
        ("only", weighed, "label cells that have mass"),
        ({"odd": first & ~half, "even": half}, ARGS, "name states that end later"),
    ):
        with pytest.raises(ValueError, match=remedy):
            scruot.tl.fate_probabilities(
                cells, terminal_states=states, source="transport", **options
            )
    assert "fates" not in cells.uns


def test_groups_that_are_missing_at_the_last_time(cells):
    early = cells.obs["cell_type"].where(cells.obs["time"] < 4)
    cells.obs["early"] = early
    with pytest.raises(ValueError, match="name groups that end before it"):
        scruot.tl.fate_probabilities(cells, "early", source="transport", use_rep="X_sim")


def test_the_rule_is_also_a_method_of_transport(cells):
    alone = run(cells).copy()
    mass = dict(zip(range(5), cells.uns["truth"]["population"]["size"], strict=True))
    options = {"groupby": "cell_type", "mass": mass, "progress": False, "key_added": "rule", **ARGS}
    # all entries say what the potentials say; without small ones there is a little less noise
    for kept, close in ((1.0, 1e-6), (0.999, 0.01)):
        scruot.tl.transport(cells, "fate", kept_mass=kept, **options)
        scruot.tl.fate_probabilities(cells, "cell_type", source="transport", key="rule")
        np.testing.assert_allclose(cells.obsm["fate_probabilities"], alone, atol=close)
    early = cells.obs["time"] < 4
    growth, true = cells.obs.loc[early, ["rule_transport_growth", "growth_true"]].to_numpy().T
    # one constant for all cells would be off by the standard deviation
    assert np.sqrt(np.mean((growth - true) ** 2)) < 0.7 * true.std()
    with pytest.raises(ValueError, match="does not use"):
        scruot.tl.transport(cells, "fate", tau=1.0, **ARGS)
    with pytest.raises(ValueError, match="growth prior"):
        scruot.tl.transport(cells, "fate", growth="growth_true", **ARGS)
    with pytest.raises(ValueError, match="does not use"):
        scruot.tl.transport(cells, "balanced", groupby="cell_type", **ARGS)


def test_calibration_against_the_truth(cells):
    run(cells)
    table = scruot.tl.fate_calibration(cells, "fate_true")
    assert table.attrs["skill"] > 0.6
    assert table.attrs["calibration_error"] < 0.1
    early = (cells.obs["time"] <= 1).to_numpy()
    p, truth = cells.obsm["fate_probabilities"].to_numpy()[early], cells.obsm["fate_true"][early]
    null = ((truth - truth.mean(0)) ** 2).sum()
    part = scruot.tl.fate_calibration(cells, "fate_true", where=early)
    assert part.attrs["skill"] == pytest.approx(1 - ((p - truth) ** 2).sum() / null)
    assert (part.groupby("fate")["n_cells"].sum() == early.sum()).all()
    # known of some cells, by name
    names = np.array(["A", "B", "C"])[cells.obsm["fate_true"].argmax(1)]
    cells.obs["seen"] = pd.Series(names, index=cells.obs_names).where(early)
    seen = scruot.tl.fate_calibration(cells, "seen")
    assert seen.groupby("fate")["n_cells"].sum().iloc[0] == early.sum()
    cells.obs["odd"] = "D"
    with pytest.raises(ValueError, match="no fates"):
        scruot.tl.fate_calibration(cells, "odd")
    with pytest.raises(KeyError, match="seen"):
        scruot.tl.fate_calibration(cells, "sean")


def test_simulated_fates_of_uncalibrated_noise_are_warned_of(data, caplog):
    adata = data.copy()
    mass = adata.uns.pop("mass")
    scruot.tl.fit_dynamics(
        adata, "sf2m", use_rep="X_sim", mass=mass, steps=60, sigma=0.02, progress=False
    )
    scruot.tl.fate_probabilities(adata, "cell_type", stochastic=True, n_simulations=10)
    p = adata.obsm["fate_probabilities"]
    # a cell all of whose simulations end far from all cells has no fate
    known = p.notna().all(axis=1)
    assert known.mean() > 0.95
    np.testing.assert_allclose(p[known].sum(axis=1), 1.0)
    figures = adata.uns["fates"]["quality"]
    coupled = scruot.tl.fate_probabilities(adata, "cell_type", copy=True)
    # of the times 0, 1, 2 and 3 before the end; later on both agree anyway
    early = (known & (adata.obs["time"] <= 1)).to_numpy()
    one, two = p.to_numpy()[early], coupled.obsm["fate_probabilities"].to_numpy()[early]
    expected = 1 - ((one - two) ** 2).sum() / ((two - two.mean(0)) ** 2).sum()
    assert figures["agreement"] == pytest.approx(expected, abs=1e-9)
    assert expected < 0.5
    assert "not calibrated" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="scruot"):
        warn({**figures, "agreement": 0.6})
    assert "not calibrated" not in caplog.text
    with caplog.at_level(logging.WARNING, logger="scruot"):
        warn({**figures, "agreement": 0.4})
    assert "not calibrated" in caplog.text
    again = scruot.tl.fate_probabilities(
        adata, "cell_type", stochastic=True, n_simulations=10, copy=True
    )
    pd.testing.assert_frame_equal(again.obsm["fate_probabilities"], p)


def test_noise_is_refused_for_a_model_without_it(fitted):
    with pytest.raises(ValueError, match="deterministic"):
        scruot.tl.fate_probabilities(fitted, "cell_type", stochastic=True)


def test_populations_that_do_not_move_grow_as_they_do():
    rng = np.random.default_rng(3)
    time = np.repeat(np.arange(4.0), 150)
    share = np.exp(0.5 * time) / (np.exp(0.5 * time) + 1)
    kind = (rng.random(len(time)) > share).astype(int)
    x = rng.standard_normal((len(time), 3)) + 8.0 * np.eye(3)[0] * kind[:, None]
    adata = anndata.AnnData(
        obs=pd.DataFrame(
            {"time": time, "kind": np.array(["a", "b"])[kind]},
            index=[f"c{i}" for i in range(len(time))],
        ),
        obsm={"X_pca": x.astype(np.float32)},
    )
    mass = {t: np.exp(0.5 * t) + 1 for t in range(4)}
    scruot.tl.transport(adata, "fate", groupby="kind", mass=mass, progress=False)
    before = (adata.obs["time"] < 3).to_numpy()
    true = np.array([0.5, 0.0])[kind[before]]
    growth = adata.obs["transport_growth"].to_numpy()[before]
    # counts of 150 cells vary by chance, a tenth and more in each interval
    assert np.sqrt(np.mean((growth - true) ** 2)) < 0.12
    assert np.isfinite(adata.obs.loc[before, "transport_growth"]).all()
    scruot.tl.fate_probabilities(adata, "kind", source="transport")
    hit = (adata.obs["fate"].astype(str) == adata.obs["kind"]).mean()
    # masses of a snapshot that chance has changed cross between them
    assert hit > 0.9


def test_standard_errors_tell_how_far_another_sample_would_be(cells):
    p = run(cells, n_bootstrap=4, random_state=1).to_numpy()
    error = cells.obsm["fate_probabilities_se"]
    assert list(error.columns) == ["A", "B", "C"]
    early = (cells.obs["time"] <= 1).to_numpy()
    assert 0.005 < error[early].to_numpy().mean() < 0.1
    # what is certain stays so
    np.testing.assert_allclose(error[(cells.obs["time"] == 4).to_numpy()], 0.0, atol=1e-12)
    mass = dict(zip(range(5), cells.uns["truth"]["population"]["size"], strict=True))
    plain = run(cells, mass=mass)
    np.testing.assert_array_equal(plain, p)
    assert "fate_probabilities_se" not in cells.obsm
