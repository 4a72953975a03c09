"""Parameters of static transport, checked before anything is computed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scruot._messages import unknown

METHODS = ("wfr",)


@dataclass(frozen=True)
class TransportParams:
    """What :func:`scruot.tl.transport` was asked for; documented there."""

    method: str = "wfr"
    delta: float | str = "auto"


def check_params(params: TransportParams) -> None:
    """Refuse unknown words, values out of range, and combinations without a meaning.

    Raises
    ------
    ValueError
        With what was found, what was expected and what to do.
    """
    if params.method not in METHODS:
        raise ValueError(unknown("method", str(params.method), METHODS))
    _positive("delta", params.delta, words=("auto",))


def _positive(name: str, value: Any, *, words: Sequence[str] = ()) -> None:
    if isinstance(value, str) and value in words:
        return
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 < float(value) < math.inf:
        options = "".join(f" or {word!r}" for word in words)
        msg = f"Found {name}={value!r}; expected a positive number{options}."
        raise ValueError(msg)
