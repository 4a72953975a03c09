"""Sentences that error messages share."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "unknown"]

# Beyond this a list of all options is longer than what a reader of an error will read.
_SHOWN = 20


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Suggest the option that is spelled most like `name`.

    Parameters
    ----------
    name
        What the user wrote.
    options
        What the user may write.

    Returns
    -------
    ``" Did you mean 'x'?"`` with its leading space, or an empty string when nothing is close.
    """
    names = {option.casefold(): option for option in options}
    close = get_close_matches(str(name).casefold(), names, n=1)
    return f" Did you mean {names[close[0]]!r}?" if close else ""


def unknown(kind: str, name: str, options: Iterable[str]) -> str:
    """Say that `name` is no option, what was perhaps meant, and what the options are.

    Parameters
    ----------
    kind
        What `name` should have been, e.g. ``"method"``.
    name
        What the user wrote.
    options
        What the user may write.

    Returns
    -------
    One line for an exception, e.g. ``"Unknown method 'wfrfn'. Did you mean 'wfrfm'? Available:
    'wfrfm'."``.
    """
    options = list(options)
    if not options:
        return f"Unknown {kind} {name!r}. There is none to choose from."
    shown = ", ".join(repr(option) for option in options[:_SHOWN])
    more = f" and {len(options) - _SHOWN} more" if len(options) > _SHOWN else ""
    return f"Unknown {kind} {name!r}.{did_you_mean(name, options)} Available: {shown}{more}."
