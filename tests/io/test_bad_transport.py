"""Bad input to static transport: one clear message, and nothing is written."""

import numpy as np
import pandas as pd
import pytest

from scruot import tl
from tests.io._same import contents, same
from tests.io.test_bad_input import DATA, nothing, weightless, weights


def rates(value):
    def change(adata):
        adata.obs["rate"] = 0.1
        adata.obs.loc[adata.obs["time"] == 0.0, "rate"] = value

    return change


def word_rates(adata):
    adata.obs["rate"] = "fast"


def taken(adata):
    adata.uns["transport"] = {"mine": 1}


CALLS = [
    (nothing, {"method": "unbalancd"}, ValueError, r"Unknown method 'unbalancd'. Did you mean 'un"),
    (nothing, {"method": None}, ValueError, r"Unknown method 'None'"),
    (nothing, {"solver": "exat"}, ValueError, r"Unknown solver 'exat'. Did you mean 'exact'\?"),
    (nothing, {"kept_mass": 0}, ValueError, r"kept_mass=0; expected a share above 0 and at most"),
    (nothing, {"kept_mass": 0.9, "method": "wfr"}, ValueError, r"kept_mass=0.9 with method='wfr'"),
    (nothing, {"penalty": "klt"}, ValueError, r"Unknown penalty 'klt'. Did you mean 'kl'\?"),
    (nothing, {"tau": 0}, ValueError, r"tau=0; expected a positive number or 'auto'"),
    (nothing, {"tau": np.nan}, ValueError, r"tau=nan; expected a positive number"),
    (nothing, {"tau": "atuo"}, ValueError, r"tau='atuo'; expected a positive number or 'auto'"),
    (
        nothing,
        {"tau": (1, 2, 3)},
        ValueError,
        r"tau=\(1, 2, 3\); expected .* pair \(source, target",
    ),
    (nothing, {"tau": (1.0, -1.0)}, ValueError, r"tau=-1.0; expected a positive number."),
    (
        nothing,
        {"tau": (1, 2), "method": "semi_relaxed"},
        ValueError,
        r"tau=\(1, 2\); expected 'auto' or a positive number\.",
    ),
    (nothing, {"reg": -0.1}, ValueError, r"reg=-0.1; expected a zero or positive number or 'auto'"),
    (nothing, {"reg": np.inf}, ValueError, r"reg=inf; expected"),
    (nothing, {"reg": True}, ValueError, r"reg=True; expected"),
    (
        nothing,
        {"method": "balanced", "tau": 1.0},
        ValueError,
        r"tau=1.0 with method='balanced', which does not use it; .*'unbalanced', 'semi_relaxed'",
    ),
    (
        nothing,
        {"method": "balanced", "penalty": "tv"},
        ValueError,
        r"penalty='tv' with method='bal",
    ),
    (nothing, {"method": "wfr", "reg": 0.1}, ValueError, r"reg=0.1 with method='wfr'"),
    (nothing, {"delta": 1.0}, ValueError, r"delta=1.0 with method='unbalanced'.*\['wfr'\]"),
    (nothing, {"method": "wfr", "delta": 0}, ValueError, r"delta=0; expected a positive number or"),
    (nothing, {"relaxed": "target"}, ValueError, r"relaxed='target' with method='unbalanced'"),
    (
        nothing,
        {"method": "semi_relaxed", "relaxed": "sorce"},
        ValueError,
        r"Unknown relaxed side 'sorce'. Did you mean 'source'\?",
    ),
    (nothing, {"method": "partial"}, ValueError, r"moved=None; method='partial' needs the share"),
    (nothing, {"method": "partial", "moved": 1.2}, ValueError, r"moved=1.2; .*at most 1"),
    (nothing, {"method": "partial", "moved": 0}, ValueError, r"moved=0; .*above 0"),
    (nothing, {"moved": 0.5}, ValueError, r"moved=0.5 with method='unbalanced'"),
    (nothing, {"growth": "growht"}, KeyError, r"No growth prior 'growht' in obs"),
    (nothing, {"growth": 0.5}, TypeError, r"growth of type float; expected the name of an obs col"),
    (
        word_rates,
        {"growth": "rate"},
        ValueError,
        r"obs\['rate'\] has dtype .*expected growth rates",
    ),
    (rates(np.nan), {"growth": "rate"}, ValueError, r"holds 20 rates that are missing or infinite"),
    (rates(-np.inf), {"growth": "rate"}, ValueError, r"holds 20 rates that are missing or infini"),
    (rates(0.1), {"growth": "rate", "method": "wfr"}, ValueError, r"growth with method='wfr'"),
    (
        nothing,
        {"growth_iterations": 0},
        ValueError,
        r"growth_iterations=0; expected a whole number",
    ),
    (nothing, {"growth_iterations": 1.5}, ValueError, r"growth_iterations=1.5; expected a whole"),
    (
        nothing,
        {"growth_iterations": 2, "method": "balanced"},
        ValueError,
        r"growth_iterations=2 with method='balanced', whose row masses do not change",
    ),
    (
        nothing,
        {"growth_iterations": 2, "method": "semi_relaxed", "relaxed": "target"},
        ValueError,
        r"growth_iterations=2 with method='semi_relaxed'",
    ),
    (weights(-1.0), {"mass": "w"}, ValueError, r"obs\['w'\] holds 1 .*negative"),
    (weightless, {"mass": "w"}, ValueError, r"total mass at time 1 is zero"),
    (nothing, {"mass": {0: 1, 1: 2}}, ValueError, r"no population for time 3"),
    (nothing, {"n_dims": 9}, ValueError, r"n_dims=9; expected a whole number from 1 to 4"),
    (nothing, {"device": "gpu"}, ValueError, r"Unknown device 'gpu'"),
    (nothing, {"key_added": "a/b"}, ValueError, r"Found the key 'a/b'; expected a name"),
    (taken, {}, ValueError, r"Found uns\['transport'\], which is no transport of scruot"),
]


@pytest.mark.parametrize(("change", "options", "error", "message"), DATA + CALLS)
def test_one_clear_message(adata, change, options, error, message):
    change(adata)
    before = contents(adata)
    with pytest.raises(error, match=message) as caught:
        tl.transport(adata, progress=False, **options)
    assert same(contents(adata), before)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400


def test_a_column_that_is_written_is_not_read(adata):
    adata.obs["transport_growth"] = 0.1
    with pytest.raises(ValueError, match=r"growth='transport_growth', a column that this writes"):
        tl.transport(adata, growth="transport_growth", progress=False)


def test_a_price_that_moves_nothing(adata):
    adata.obsm["X_pca"][adata.obs["time"] == 1.0] += 50
    before = contents(adata)
    with pytest.raises(ValueError, match=r"Nothing moves in interval 0: .*Raise tau"):
        tl.transport(adata, penalty="tv", tau=1e-3, reg=0, progress=False)
    assert same(contents(adata), before)


def test_rates_in_another_unit_of_time_are_reported(adata, caplog):
    adata.obs["rate"] = np.linspace(0, 24 * 2, adata.n_obs)
    tl.transport(adata, growth="rate", reg=0.1, progress=False)
    assert "are the rates per unit of the time column?" in caplog.text


def test_fits_and_transports_do_not_replace_each_other(adata):
    quick = {"steps": 5, "batch_size": 32, "width": 16, "progress": False}
    tl.fit_dynamics(adata, **quick)
    with pytest.raises(ValueError, match=r"uns\['dynamics'\], which is no transport"):
        tl.transport(adata, key_added="dynamics", progress=False)
    tl.transport(adata, "wfr", progress=False)
    with pytest.raises(ValueError, match=r"uns\['transport'\], which is no fit of scruot"):
        tl.fit_dynamics(adata, key_added="transport", **quick)


# what is odd, and simply works


def test_labels_and_uneven_times(adata):
    expected = adata.copy()
    tl.transport(expected, reg=0.05, progress=False)
    adata.obs["time"] = adata.obs["time"].map({0.0: "day 0", 1.0: "day 1", 3.0: "day 3"})
    tl.transport(adata, reg=0.05, progress=False)
    np.testing.assert_array_equal(adata.obs["transport_growth"], expected.obs["transport_growth"])


def test_ordered_categories_nullable_numbers_and_rates_missing_at_the_end(adata):
    adata.obs["stage"] = pd.Categorical(
        adata.obs["time"].map({0.0: "a", 1.0: "b", 3.0: "c"}),
        categories=["a", "b", "c"],
        ordered=True,
    )
    adata.obs["rate"] = pd.array(adata.obs["time"].to_numpy() / 10, dtype="Float64")
    adata.obs.loc[adata.obs["time"] == 3.0, "rate"] = pd.NA
    tl.transport(adata, time_key="stage", growth="rate", reg=0.05, progress=False)
    np.testing.assert_array_equal(adata.uns["transport"]["times"], [0.0, 1.0, 2.0])


def test_cells_without_mass_take_no_part(adata):
    adata.obs["w"] = 1.0
    adata.obs.loc["cell3", "w"] = 0.0
    tl.transport(adata, "wfr", mass="w", progress=False)
    assert "cell3" not in {n for c in adata.uns["transport"]["cells"].values() for n in c}
    assert np.isnan(adata.obs.loc["cell3", "transport_growth"])
    tl.descendants(adata, {"kind": "a"}, source_time=0)
    assert np.isnan(adata.obs.loc["cell3", "descendants"])


@pytest.mark.parametrize("method", ["balanced", "unbalanced", "semi_relaxed", "partial", "wfr"])
def test_one_cell_a_time(adata, method):
    one = adata[[np.flatnonzero(adata.obs["time"] == t)[0] for t in (0.0, 1.0, 3.0)]].copy()
    tl.transport(one, method, moved=0.5 if method == "partial" else None, progress=False)
    assert one.uns["transport"]["couplings"]["0"].shape == (1, 1)
    # one cell is one cell: no growth but for partial transport, in which half is lost
    expected = np.log(0.5) if method == "partial" else 0.0
    close = {"wfr": np.nan}.get(method, expected)
    if np.isfinite(close):
        np.testing.assert_allclose(one.obs["transport_growth"].min(), close, atol=1e-2)


def test_the_matrix_as_a_representation(adata, rng):
    adata.X = rng.normal(size=adata.shape).astype(np.float32)
    tl.transport(adata, use_rep="X", reg=0.05, progress=False)
    adata.obsm["X_copy"] = adata.X
    again = tl.transport(adata, use_rep="X_copy", reg=0.05, progress=False, copy=True)
    np.testing.assert_array_equal(again.obs["transport_growth"], adata.obs["transport_growth"])
