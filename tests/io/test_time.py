"""Every form of a time column, and what is said of those that cannot be read."""

import re

import numpy as np
import pandas as pd
import pytest

from scruot.io.time import label_ranks, read_times

FORMS = {
    "int": [3, 0, 7, 3],
    "float": [3.0, 0.0, 7.0, 3.0],
    "float32": np.array([3, 0, 7, 3], dtype=np.float32),
    "nullable Int64": pd.array([3, 0, 7, 3], dtype="Int64"),
    "nullable Float64": pd.array([3, 0, 7, 3], dtype="Float64"),
    "objects": np.array([3, 0.0, "7", 3], dtype=object),
    "strings": ["3", "0", "7", "3"],
    "nullable strings": pd.array(["3", "0", "7", "3"], dtype="string"),
    "labels": ["day 3", "day 0", "day 7", "day 3"],
    "joined": ["d3", "d0", "d7", "d3"],
    "hyphens": ["day-3", "day-0", "day-7", "day-3"],
    "underscores": ["t_3", "t_0", "t_7", "t_3"],
    "dots": ["day.3", "day.0", "day.7", "day.3"],
    "units": ["3d", "0d", "7d", "3d"],
    "decimals": ["E3.0", "E0.0", "E7.0", "E3.0"],
    "exponents": ["3e0", "0e0", "0.7e1", "3e0"],
    "categorical labels": pd.Categorical(["day 3", "day 0", "day 7", "day 3"]),
    "categorical numbers": pd.Categorical([3, 0, 7, 3]),
    "ordered numbers": pd.Categorical([3, 0, 7, 3], categories=[0, 3, 7, 9], ordered=True),
    "ordered labels": pd.Categorical(
        ["day 3", "day 0", "day 7", "day 3"], categories=["day 0", "day 3", "day 7"], ordered=True
    ),
}


def column(values):
    return pd.Series(values, index=[f"c{i}" for i in range(len(values))])


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    times = read_times(column(FORMS[form]), "time")
    assert times.dtype == np.float64
    assert times.tolist() == [3.0, 0.0, 7.0, 3.0]


@pytest.mark.parametrize("dtype", ["float32", "Float32", "float64"])
@pytest.mark.parametrize("form", [pd.array, pd.Categorical])
def test_numbers_are_those_that_are_shown(form, dtype):
    values = form(pd.array([0.1, 24.7, 0.1, -3.0], dtype=dtype))
    assert read_times(column(values), "time").tolist() == [0.1, 24.7, 0.1, -3.0]


@pytest.mark.parametrize(
    ("label", "time"),
    [
        ("E8.5", 8.5),
        ("-3", -3.0),
        ("+3", 3.0),
        ("t = -1.5 h", -1.5),
        # a hyphen after a letter joins, it is no sign
        ("d-1", 1.0),
        ("P-7", 7.0),
        (".5", 0.5),
        ("day .5", 0.5),
        ("5.", 5.0),
        ("1e-05", 1e-5),
        ("24hpf", 24.0),
        ("E8.5 embryo", 8.5),
        ("007", 7.0),
    ],
)
def test_labels(label, time):
    assert read_times(column([label, "99"]), "time").tolist() == [time, 99.0]


def test_ordered_words_become_ranks(caplog):
    caplog.set_level("INFO", logger="scruot")
    words = pd.Categorical(
        ["late", "early", "mid", "late"],
        categories=["unused", "early", "mid", "late"],
        ordered=True,
    )
    assert read_times(column(words), "stage").tolist() == [2.0, 0.0, 1.0, 2.0]
    assert "ordered labels without numbers" in caplog.text


def test_ranks_of_a_fit_hold_for_a_part_of_its_cells():
    words = pd.Categorical(["c", "a", "b"], categories=["a", "b", "c"], ordered=True)
    ranks = label_ranks(column(words))
    assert ranks == {"a": 0.0, "b": 1.0, "c": 2.0}
    part = column(words).iloc[[0, 2]].cat.remove_unused_categories()
    assert read_times(part, "stage").tolist() == [1.0, 0.0]
    assert read_times(part, "stage", ranks).tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match=r"holds \['d'\], which the fit has not seen"):
        read_times(column(["a", "d"]), "stage", ranks)


@pytest.mark.parametrize("form", [f for f in FORMS if f != "ordered words"])
def test_only_words_have_ranks(form):
    assert label_ranks(column(FORMS[form])) is None


MISSING = {
    "nan": [0.0, np.nan],
    "none": [0, None],
    "nullable": pd.array([0, None], dtype="Int64"),
    "category": pd.Categorical(["day 0", None]),
    "string": pd.array(["0", None], dtype="string"),
}


@pytest.mark.parametrize("form", MISSING)
def test_missing_times(form):
    message = r"obs\['day'\] is missing for 1 of 2 cells \(first: 'c1'\); give every cell a time"
    with pytest.raises(ValueError, match=message):
        read_times(column(MISSING[form]), "day")


REFUSED = {
    "words": (["control", "day 1"], r"without exactly one number: \['control'\]"),
    "two numbers": (["day 3 rep 1", "day 4"], r"without exactly one number: \['day 3 rep 1'\]"),
    "ranges": (["10-11", "12"], r"without exactly one number: \['10-11'\]"),
    "commas": (["1,5", "2"], r"without exactly one number: \['1,5'\]"),
    "unordered words": (pd.Categorical(["early", "late"]), "without exactly one number"),
    "two labels": (["day 3", "d3"], "two labels for time 3: 'day 3' and 'd3'; merge them"),
    "two spellings": (["3", "3.0"], "two labels for time 3: '3' and '3.0'"),
    "wrong order": (
        pd.Categorical(["d2", "d10"], categories=["d10", "d2"], ordered=True),
        r"is ordered as \['d10', 'd2'\], but the numbers in the labels are \[10.0, 2.0\]",
    ),
    "half words": (
        pd.Categorical(["early", "day 3"], categories=["early", "day 3"], ordered=True),
        r"without exactly one number: \['early'\]",
    ),
    "booleans": ([True, False], "is boolean; expected times"),
    "boolean categories": (pd.Categorical([True, False]), "is boolean; expected times"),
    "dates": (pd.to_datetime(["2020-01-01", "2020-01-02"]), "holds dates or durations"),
    "durations": (pd.to_timedelta([1, 2], unit="D"), "holds dates or durations"),
    "infinity": ([0.0, np.inf], "infinite times"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_refusals(form):
    values, message = REFUSED[form]
    with pytest.raises(ValueError, match=re.escape("obs['when']") + ".*" + message):
        read_times(column(values), "when")
