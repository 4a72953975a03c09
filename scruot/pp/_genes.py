"""Find wanted genes among the names of a matrix, whatever their case."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scruot._messages import unknown
from scruot.pp._gene_sets import FORMER_SYMBOLS, ORGANISMS, Organism, built_in

logger = logging.getLogger(__name__)

# As many names as fit into a line of a log.
_SHOWN = 12
_FORMER = {former: symbol for symbol, all_ in FORMER_SYMBOLS.items() for former in all_}


@dataclass(frozen=True)
class Genes:
    """Wanted genes and where they are.

    Attributes
    ----------
    columns
        Columns of the matrix, one for each gene that was found.
    names
        The genes that were found, as the data name them.
    missing
        The genes that were not, as they were asked for.
    """

    columns: tuple[int, ...]
    names: tuple[str, ...]
    missing: tuple[str, ...]


def listed(names: Iterable[str]) -> str:
    """Join names for a message, the first dozen of them."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def check_names(genes: Any, argument: str) -> tuple[str, ...] | None:
    """Return the genes of an argument, each once; ``None`` stays ``None``.

    Raises
    ------
    ValueError
        For anything but a list of names.
    """
    if genes is None:
        return None
    if not isinstance(genes, Iterable) or isinstance(genes, str):
        msg = f"Found {argument}={genes!r}; expected a list of gene names, or None for our own set."
        raise ValueError(msg)
    names = list(genes)
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong:
        msg = f"Found {wrong[0]!r} in {argument}; expected gene names, i.e. words."
        raise ValueError(msg)
    return tuple(dict.fromkeys(str(name).strip() for name in names))


def choose_organism(asked: str, symbols: pd.Index) -> Organism:
    """Return the organism whose spelling of the sets more names of the data have.

    Raises
    ------
    ValueError
        For an unknown organism.
    """
    if asked not in ("auto", *ORGANISMS):
        raise ValueError(unknown("organism", asked, ("auto", *ORGANISMS)))
    known = set(symbols)
    spelled = {organism: _spelled(organism, known) for organism in ORGANISMS}
    most = max(ORGANISMS, key=lambda organism: len(spelled[organism]))
    counts = " and ".join(f"{len(v)} as in {k}" for k, v in spelled.items())
    if asked == "auto":
        logger.info("Organism: %s (of the genes of the sets, %s).", most, counts)
        return most
    chosen: Organism = "human" if asked == "human" else "mouse"
    if len(spelled[most]) > len(spelled[chosen]):
        logger.warning(
            "organism=%r, but the genes are spelled as in %s, e.g. %s (%s). They are matched "
            "without regard to case; if the cells are of %s, pass organism=%r.",
            chosen,
            most,
            listed(spelled[most][:3]),
            counts,
            most,
            most,
        )
    return chosen


def _spelled(organism: Organism, known: set[str]) -> list[str]:
    both = (*built_in("proliferation", organism), *built_in("apoptosis", organism))
    return [symbol for symbol in both if symbol in known]


def find_genes(
    wanted: Sequence[str], symbols: pd.Index, what: str, *, level: int = logging.WARNING
) -> Genes:
    """Find genes by their name, else by the same name in other case, else by a former symbol.

    Parameters
    ----------
    wanted
        Gene symbols.
    symbols
        Names of the columns of the matrix.
    what
        What the genes stand for, for messages.
    level
        How loudly to say that genes were found in other case.

    Raises
    ------
    ValueError
        When a name that would be taken stands for several columns.
    """
    exact = _positions(symbols)
    folded = _positions(symbols.str.casefold())
    columns: dict[int, str] = {}
    missing: list[str] = []
    other_case: list[str] = []
    for gene in wanted:
        at = exact.get(gene)
        if at is None:
            at = next((folded[name] for name in _spellings(gene) if name in folded), None)
            if at is not None and symbols[at[0]].casefold() == gene.casefold():
                other_case.append(f"{gene} as {symbols[at[0]]}")
        if at is None:
            missing.append(gene)
        elif len(at) > 1:
            twice = sorted({str(symbols[i]) for i in at})
            msg = (
                f"Found the {what} gene {gene!r} in {len(at)} columns, named {listed(twice)}; "
                "expected one. Merge them, or call adata.var_names_make_unique() and name "
                "one of them."
            )
            raise ValueError(msg)
        else:
            columns[at[0]] = str(symbols[at[0]])
    if other_case:
        logger.log(
            level,
            "%d of %d %s genes are found in other case only (%s): is the set of the right species?",
            len(other_case),
            len(wanted),
            what,
            listed(other_case),
        )
    return Genes(tuple(columns), tuple(columns.values()), tuple(missing))


def _positions(names: pd.Index) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        if isinstance(name, str):
            found.setdefault(name, []).append(position)
    return found


def _spellings(gene: str) -> list[str]:
    """Return the folded names that a gene may have: its own, former ones, or today's."""
    capitals = gene.upper()
    others = [*FORMER_SYMBOLS.get(capitals, ()), *filter(None, [_FORMER.get(capitals)])]
    return [gene.casefold(), *(other.casefold() for other in others)]
