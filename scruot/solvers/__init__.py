"""The solvers and what is known about each.

A method is one file that ends in a :class:`~scruot.solvers.problem.Solver`, and one line in
``_ALL``; a method of your own, outside this package, is one call of :func:`register`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from scruot._messages import unknown
from scruot.dynamics.growth_penalty import register_penalty
from scruot.solvers.crufm import CRUFM
from scruot.solvers.deepruot import DEEPRUOT
from scruot.solvers.otcfm import OTCFM
from scruot.solvers.problem import Solver
from scruot.solvers.sf2m import SF2M
from scruot.solvers.tigon import TIGON
from scruot.solvers.uotfm import UOTFM
from scruot.solvers.varruot import VARRUOT
from scruot.solvers.vgfm import VGFM
from scruot.solvers.wfr import WFR
from scruot.solvers.wfrfm import WFRFM

__all__ = ["cite", "describe", "get", "names", "register", "register_penalty"]

_ALL = (WFRFM, WFR, UOTFM, VGFM, CRUFM, OTCFM, SF2M, DEEPRUOT, VARRUOT, TIGON)
_SOLVERS: dict[str, Solver] = {solver.name: solver for solver in _ALL}


def names() -> list[str]:
    """Return the names of all methods.

    Returns
    -------
    Names that :func:`scruot.tl.fit_dynamics` accepts as ``method``.

    Examples
    --------
    >>> import scruot
    >>> "wfrfm" in scruot.solvers.names()
    True
    """
    return list(_SOLVERS)


def get(name: str) -> Solver:
    """Return a method by name.

    Parameters
    ----------
    name
        Name of the method.

    Returns
    -------
    The registry's entry.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> import scruot
    >>> scruot.solvers.get("wfrfm").learns
    ('velocity', 'growth')
    """
    if name not in _SOLVERS:
        raise ValueError(unknown("method", name, names()))
    return _SOLVERS[name]


def register(solver: Solver, *, replace: bool = False) -> None:
    """Add a method of your own, for this session.

    It is then at hand under its name everywhere: in :func:`scruot.tl.fit_dynamics`,
    :func:`scruot.tl.cross_validate`, :func:`describe`, and for reading files that were fitted with
    it. The command line knows the methods of the package alone.

    Parameters
    ----------
    solver
        The method; see :class:`scruot.solvers.problem.Solver`.
    replace
        Whether a method of the same name may be replaced.

    Raises
    ------
    TypeError
        For anything else than a solver.
    ValueError
        For a name that is taken, or that is not lower-case letters and digits.

    Examples
    --------
    >>> import scruot
    >>> solver = scruot.solvers.get("wfr")  # or one of yours
    >>> scruot.solvers.register(solver, replace=True)
    >>> "wfr" in scruot.solvers.names()
    True
    """
    if not isinstance(solver, Solver):
        kind = type(solver).__name__
        msg = f"Found a {kind}; expected a Solver (see scruot.solvers.problem)."
        raise TypeError(msg)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", solver.name):
        msg = (
            f"Found the name {solver.name!r}; expected lower-case letters, digits and underscores, "
            "beginning with a letter."
        )
        raise ValueError(msg)
    if solver.name in _SOLVERS and not replace:
        msg = (
            f"Found a method {solver.name!r} already; expected a new name, or replace=True to put "
            "this one in its place."
        )
        raise ValueError(msg)
    _SOLVERS[solver.name] = solver


def describe(name: str) -> dict[str, Any]:
    """Describe a method: what it learns, its parameters, its paper.

    Parameters
    ----------
    name
        Name of the method.

    Returns
    -------
    Mapping with ``"name"``, ``"summary"``, ``"learns"`` (tuple), ``"stochastic"``,
    ``"parameters"`` (name to ``{"default", "help"}``) and ``"reference"``.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> import scruot
    >>> scruot.solvers.describe("wfrfm")["parameters"]["delta"]["default"]
    'auto'
    """
    solver = get(name)
    own = solver.params.__annotations__
    # a method's own parameters first, then those that it shares with others
    fields = sorted(dataclasses.fields(solver.params), key=lambda f: f.name not in own)
    parameters = {f.name: {"default": f.default, "help": f.metadata["help"]} for f in fields}
    return {
        "name": solver.name,
        "summary": solver.summary,
        "learns": solver.learns,
        "stochastic": solver.stochastic,
        "parameters": parameters,
        "reference": solver.reference,
    }


def cite(name: str) -> str:
    """Return the paper of a method as BibTeX.

    Parameters
    ----------
    name
        Name of the method.

    Returns
    -------
    One BibTeX entry.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> import scruot
    >>> scruot.solvers.cite("wfrfm").startswith("@")
    True
    """
    return get(name).bibtex
