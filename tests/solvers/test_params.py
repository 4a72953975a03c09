"""Declared parameters: what passes, what does not, and what is said."""

from dataclasses import dataclass

import numpy as np
import pytest

from scruot.solvers.params import make_params, param


@dataclass(frozen=True)
class Params:
    """One parameter of every kind."""

    length: float | str = param("auto", "a length", above=0.0, choices=("auto",))
    share: float = param(0.5, "a share", low=0.0, high=1.0)
    steps: int = param(10, "a number of steps", low=1)
    way: str = param("left", "a way", choices=("left", "right"))
    strict: bool = param(True, "whether to be strict")
    shift: float = param(0.0, "any number")


def make(**given):
    return make_params(Params, given, "method")


def test_defaults():
    assert make() == Params()


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"length": 2}, 2.0),
        ({"length": "auto"}, "auto"),
        ({"length": np.float32(0.5)}, 0.5),
        ({"share": 0}, 0.0),
        ({"share": 1}, 1.0),
        ({"steps": 5.0}, 5),
        ({"steps": np.int64(5)}, 5),
        ({"steps": 1e6}, 1_000_000),
        ({"way": "right"}, "right"),
        ({"strict": False}, False),
        ({"strict": np.bool_(False)}, False),
        ({"shift": -1e30}, -1e30),
    ],
)
def test_values_that_pass(given, value):
    (name,) = given
    found = getattr(make(**given), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"length": 0.0}, ValueError, "length=0.0; expected a number > 0.0"),
        ({"length": "automatic"}, ValueError, "expected 'auto' or a number"),
        ({"length": float("inf")}, ValueError, "expected a number > 0.0"),
        ({"share": -0.1}, ValueError, "expected a number >= 0.0 and <= 1.0"),
        ({"share": 1.1}, ValueError, "expected a number >= 0.0 and <= 1.0"),
        ({"share": float("nan")}, ValueError, "share=nan; expected a number"),
        ({"share": "half"}, ValueError, "share='half'; expected a number"),
        ({"share": None}, TypeError, "share=None of type NoneType; expected a number"),
        ({"share": [0.1]}, TypeError, r"share=\[0.1\] of type list; expected a number"),
        ({"steps": 0}, ValueError, "steps=0; expected a number >= 1"),
        ({"steps": 2.5}, ValueError, "steps=2.5; expected a whole number"),
        ({"steps": float("inf")}, ValueError, "steps=inf; expected a number >= 1"),
        ({"steps": float("nan")}, ValueError, "steps=nan; expected a number >= 1"),
        ({"way": "up"}, ValueError, "way='up'; expected 'left' or 'right'"),
        ({"way": 1}, TypeError, "way=1; expected 'left' or 'right'"),
        ({"strict": "no"}, TypeError, "strict='no'; expected True or False"),
        ({"strict": 1}, TypeError, "strict=1; expected True or False"),
        ({"shift": float("inf")}, ValueError, "expected a number that is finite"),
        (
            {"lenght": 1.0},
            TypeError,
            r"Unknown parameter of 'method' 'lenght'. Did you mean 'length'",
        ),
        ({"colour": 1.0}, TypeError, "Unknown parameter of 'method' 'colour'.*Available: 'length'"),
    ],
)
def test_values_that_do_not(given, error, message):
    with pytest.raises(error, match=message):
        make(**given)
