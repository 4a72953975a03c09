"""Populations in four forms."""

import numpy as np
import pandas as pd
import pytest

from scruot.io.mass import describe_mass, read_mass

TIMES = np.array([0.0, 1.0, 1.0, 0.0, 2.0, 1.0])


@pytest.fixture
def obs():
    index = [f"c{i}" for i in range(6)]
    return pd.DataFrame({"w": [1.0, 2.0, 0.0, 3.0, 0.5, 4.0], "name": list("abcdef")}, index=index)


@pytest.mark.parametrize(
    ("mass", "expected"),
    [
        ("counts", [1, 1, 1, 1, 1, 1]),
        ("equal", [1 / 2, 1 / 3, 1 / 3, 1 / 2, 1, 1 / 3]),
        ({0: 10, 1: 6, 2: 5}, [5, 2, 2, 5, 5, 2]),
        ({0.0: 10, "1": 6, np.float32(2): 5, 9: 1}, [5, 2, 2, 5, 5, 2]),
        ("w", [1.0, 2.0, 0.0, 3.0, 0.5, 4.0]),
    ],
    ids=["counts", "equal", "mapping", "odd keys", "column"],
)
def test_forms(obs, mass, expected):
    weights = read_mass(obs, TIMES, mass)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, expected, rtol=1e-15)


@pytest.mark.parametrize("dtype", ["int64", "Int64", "Float64", "float32"])
def test_columns_of_any_number(obs, dtype):
    obs["n"] = pd.array([1, 2, 3, 4, 5, 6], dtype=dtype)
    assert read_mass(obs, TIMES, "n").tolist() == [1, 2, 3, 4, 5, 6]


def test_says_what_was_taken(obs):
    said = describe_mass("counts", TIMES, read_mass(obs, TIMES, "counts"))
    assert "may reflect capture and not growth" in said
    assert "0: 2, 1: 3, 2: 1" in said


@pytest.mark.parametrize(
    ("mass", "error", "message"),
    [
        ("count", ValueError, "Unknown mass 'count'. Did you mean 'counts'?"),
        ("name", ValueError, r"obs\['name'\] has dtype .*; expected numeric cell weights"),
        ({0: 1, 2: 1}, ValueError, r"no population for time 1; found times \[0.0, 2.0\]"),
        ({0: 1, 1: 1, 2: -1}, ValueError, "expected finite, positive numbers"),
        ({0: 1, 1: 0, 2: 1}, ValueError, "expected finite, positive numbers"),
        ({0: 1, 1: np.nan, 2: 1}, ValueError, "expected finite, positive numbers"),
        ({"day 0": 1}, TypeError, "expected numbers: time to population"),
        (None, TypeError, "Found mass of type NoneType; expected 'counts', 'equal', a mapping"),
        ([1, 2, 3], TypeError, "Found mass of type list"),
    ],
)
def test_refusals(obs, mass, error, message):
    with pytest.raises(error, match=message):
        read_mass(obs, TIMES, mass)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_weights(obs, bad):
    obs.loc["c3", "w"] = bad
    message = (
        r"obs\['w'\] holds 1 weights that are missing, infinite or negative \(first: cell 'c3'"
    )
    with pytest.raises(ValueError, match=message):
        read_mass(obs, TIMES, "w")


def test_missing_weights(obs):
    obs["n"] = pd.array([1, 2, 3, None, 5, 6], dtype="Int64")
    with pytest.raises(ValueError, match="missing, infinite or negative"):
        read_mass(obs, TIMES, "n")


def test_a_time_without_mass(obs):
    obs.loc["c4", "w"] = 0.0
    with pytest.raises(ValueError, match="total mass at time 2 is zero; every time point needs"):
        read_mass(obs, TIMES, "w")


def test_booleans_are_no_weights(obs):
    obs["dead"] = [True] * 6
    with pytest.raises(ValueError, match="expected numeric cell weights"):
        read_mass(obs, TIMES, "dead")
