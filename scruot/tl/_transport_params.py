"""Parameters of static transport, checked before anything is computed."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scruot._checks import whole
from scruot._messages import unknown
from scruot.fates.plan import ITERATIONS as FATE_ITERATIONS

PENALTIES = ("kl", "l2", "tv", "chi2")
SIDES = ("source", "target")
SOLVERS = ("auto", "exact", "hierarchical")
# what each method reads beside the growth prior
USED = {
    "balanced": ("reg", "kept_mass"),
    "unbalanced": ("penalty", "tau", "reg", "kept_mass"),
    "semi_relaxed": ("penalty", "tau", "reg", "kept_mass", "relaxed"),
    "partial": ("moved", "reg", "kept_mass"),
    "wfr": ("delta",),
    "fate": ("groupby", "kept_mass"),
}
ITERATIONS = 3  # with a growth prior, as in Waddington-OT


def check_batches(method: str, batch_key: str | None) -> None:
    """Refuse batches where all intervals are coupled together.

    Raises
    ------
    ValueError
        With ``"fate"``.
    """
    if batch_key is not None and method == "fate":
        msg = (
            "Found batch_key with method 'fate', whose rule takes whole snapshots; expected "
            "another method, or no batch_key."
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class TransportParams:
    """What :func:`scruot.tl.transport` was asked for; documented there."""

    method: str = "unbalanced"
    penalty: str = "kl"
    tau: Any = "auto"
    reg: float | str = "auto"
    relaxed: str = "source"
    moved: float | None = None
    delta: float | str = "auto"
    growth: str | None = None
    growth_iterations: int | None = None
    solver: str = "auto"
    kept_mass: float = 0.999
    groupby: str | None = None

    @property
    def iterations(self) -> int:
        """Number of solves of each interval."""
        if self.growth_iterations is not None:
            return self.growth_iterations
        if self.method == "fate":
            return FATE_ITERATIONS
        return ITERATIONS if self.growth is not None and self.source_bends else 1

    @property
    def source_bends(self) -> bool:
        """Whether the row masses can differ from the prior."""
        return self.method in ("unbalanced", "partial", "fate") or (
            self.method == "semi_relaxed" and self.relaxed == "source"
        )


def make_params(given: Mapping[str, Any]) -> TransportParams:
    """Return checked parameters.

    Raises
    ------
    TypeError
        For an unknown parameter.
    ValueError
        For unknown words, values out of range, and combinations without a meaning.
    """
    fields = [f.name for f in dataclasses.fields(TransportParams)]
    for name in given:
        if name not in fields:
            raise TypeError(unknown("parameter of transport", str(name), fields))
    given = {**given, **_as_pair(given)}
    params = TransportParams(**given)
    _check_words(params)
    _check_used(params, given)
    _check_tau(params)
    _number("reg", params.reg, least="zero or positive", word=True)
    _number("delta", params.delta, least="positive", word=True)
    _check_moved(params)
    _check_kept(params.kept_mass)
    _check_growth(params)
    return params


def _as_pair(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pair of prices that is an array as a tuple."""
    tau = given.get("tau")
    return {"tau": tuple(tau.tolist())} if isinstance(tau, np.ndarray) and tau.ndim == 1 else {}


def _check_words(params: TransportParams) -> None:
    for name, value, options in (
        ("method", params.method, tuple(USED)),
        ("penalty", params.penalty, PENALTIES),
        ("relaxed side", params.relaxed, SIDES),
        ("solver", params.solver, SOLVERS),
    ):
        if value not in options:
            raise ValueError(unknown(name, str(value), options))


def _check_used(params: TransportParams, given: Mapping[str, Any]) -> None:
    """Refuse what the method would not read: it was meant to do something."""
    defaults = TransportParams()
    for name in ("penalty", "tau", "reg", "kept_mass", "relaxed", "moved", "delta", "groupby"):
        changed = name in given and given[name] != getattr(defaults, name)
        if changed and name not in USED[params.method]:
            methods = [method for method, names in USED.items() if name in names]
            msg = (
                f"Found {name}={given[name]!r} with method={params.method!r}, which does not use "
                f"it; leave it out, or choose one of {methods}."
            )
            raise ValueError(msg)


def _check_tau(params: TransportParams) -> None:
    tau = params.tau
    if isinstance(tau, (str, numbers.Real)):
        _number("tau", tau, least="positive", word=True, infinite=True)
        return
    values = list(tau) if isinstance(tau, (list, tuple)) else []
    if len(values) != 2 or params.method != "unbalanced":
        pair = ", or a pair (source, target)" if params.method == "unbalanced" else ""
        msg = f"Found tau={tau!r}; expected 'auto' or a positive number{pair}."
        raise ValueError(msg)
    for value in values:
        _number("tau", value, least="positive", word=False, infinite=True)


def _check_moved(params: TransportParams) -> None:
    if params.method != "partial":
        return
    moved = params.moved
    number = isinstance(moved, numbers.Real) and not isinstance(moved, bool)
    if not number or not 0 < float(moved) <= 1:  # type: ignore[arg-type]
        msg = (
            f"Found moved={moved!r}; method='partial' needs the share of the mass that moves, "
            "above 0 and at most 1."
        )
        raise ValueError(msg)


def _check_kept(kept: Any) -> None:
    number = isinstance(kept, numbers.Real) and not isinstance(kept, bool)
    if not number or not 0 < float(kept) <= 1:
        msg = f"Found kept_mass={kept!r}; expected a share above 0 and at most 1."
        raise ValueError(msg)


def _check_growth(params: TransportParams) -> None:
    if params.growth is not None and not isinstance(params.growth, str):
        msg = (
            f"Found growth of type {type(params.growth).__name__}; expected the name of an obs "
            "column with rates per unit of time."
        )
        raise TypeError(msg)
    if params.growth is not None and params.method == "wfr":
        msg = (
            "Found growth with method='wfr', which finds growth from the geometry alone; use "
            "method='unbalanced' for a growth prior."
        )
        raise ValueError(msg)
    if params.growth is not None and params.method == "fate":
        msg = (
            "Found growth with method='fate', which learns growth from all intervals together; use "
            "method='unbalanced' for a growth prior."
        )
        raise ValueError(msg)
    n = params.growth_iterations
    if n is None:
        return
    whole("growth_iterations", n)
    if n > 1 and not params.source_bends:
        msg = (
            f"Found growth_iterations={n} with method={params.method!r}, whose row masses do not "
            "change between iterations; use method='unbalanced'."
        )
        raise ValueError(msg)


def _number(name: str, value: Any, *, least: str, word: bool, infinite: bool = False) -> None:
    if word and isinstance(value, str) and value == "auto":
        return
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    fine = number and (value > 0 or (value == 0 and least != "positive"))
    if not fine or (math.isinf(value) and not infinite):
        auto = " or 'auto'" if word else ""
        msg = f"Found {name}={value!r}; expected a {least} number{auto}."
        raise ValueError(msg)
