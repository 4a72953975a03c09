"""Parameters of solvers: frozen, documented and checked dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

from scruot._messages import unknown

P = TypeVar("P")


def param(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Collection[str] = (),
    several: bool = False,
) -> Any:
    """Declare a parameter: default, one-line meaning, and what is allowed.

    Parameters
    ----------
    default
        Default value; its type is the type that is expected.
    text
        Meaning, shown by ``solvers.describe``.
    low, high
        Closed bounds of numbers.
    above
        Open lower bound of numbers.
    choices
        Words that are allowed; for a numeric parameter, in place of a number. Read at every check,
        so that a view of a registry grows with it.
    several
        Whether a sequence of numbers is allowed; the only thing where the default is one.
    """
    meta = {
        "help": text,
        "low": low,
        "high": high,
        "above": above,
        "choices": choices,
        "several": several,
    }
    return dataclasses.field(default=default, metadata=meta)


def make_params(cls: type[P], given: dict[str, Any], method: str) -> P:
    """Return the parameters of a method with ``given`` in place of the defaults.

    Raises
    ------
    TypeError
        For an unknown parameter or a value of the wrong type.
    ValueError
        For a value out of range.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in given:
        if name not in fields:
            raise TypeError(unknown(f"parameter of {method!r}", name, sorted(fields)))
    values = {name: _checked(fields[name], value, method) for name, value in given.items()}
    return cls(**values)


def _checked(declared: dataclasses.Field[Any], value: Any, method: str) -> Any:
    meta, name = declared.metadata, declared.name
    if isinstance(declared.default, bool):
        return _truth(value, name, method)
    if isinstance(value, str):
        if value in meta["choices"]:
            return value
        expected = " or ".join(repr(c) for c in meta["choices"]) or "a number"
        numeric = " or a number" if meta["choices"] and _is_numeric(meta) else ""
        msg = f"{method}: found {name}={value!r}; expected {expected}{numeric}."
        raise ValueError(msg)
    if meta["choices"] and not _is_numeric(meta):
        expected = " or ".join(repr(c) for c in meta["choices"])
        msg = f"{method}: found {name}={value!r}; expected {expected}."
        raise TypeError(msg)
    if meta["several"] and isinstance(value, (list, tuple, np.ndarray)):
        return tuple(_number(declared, each, method) for each in value)
    if isinstance(declared.default, tuple):
        kind = type(value).__name__
        msg = f"{method}: found {name}={value!r} of type {kind}; expected a sequence of numbers."
        raise TypeError(msg)
    return _number(declared, value, method)


def _number(declared: dataclasses.Field[Any], value: Any, method: str) -> float | int:
    meta, name = declared.metadata, declared.name
    whole = isinstance(declared.default, int)
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        msg = f"{method}: found {name}={value!r} of type {type(value).__name__}; expected a number."
        raise TypeError(msg) from error
    if not _in_range(meta, number):
        msg = f"{method}: found {name}={value!r}; expected a number {_range_text(meta)}."
        raise ValueError(msg)
    if whole and number != int(value):
        msg = f"{method}: found {name}={value!r}; expected a whole number."
        raise ValueError(msg)
    return int(value) if whole else number


def _truth(value: Any, name: str, method: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        msg = f"{method}: found {name}={value!r}; expected True or False."
        raise TypeError(msg)
    return bool(value)


def _is_numeric(meta: Any) -> bool:
    return any(meta[k] is not None for k in ("low", "high", "above"))


def _in_range(meta: Any, number: float) -> bool:
    if number != number or number in (float("inf"), float("-inf")):
        return False
    return not (
        (meta["low"] is not None and number < meta["low"])
        or (meta["high"] is not None and number > meta["high"])
        or (meta["above"] is not None and number <= meta["above"])
    )


def _range_text(meta: Any) -> str:
    parts = []
    if meta["above"] is not None:
        parts.append(f"> {meta['above']}")
    if meta["low"] is not None:
        parts.append(f">= {meta['low']}")
    if meta["high"] is not None:
        parts.append(f"<= {meta['high']}")
    return " and ".join(parts) or "that is finite"
