"""Score the two sets of genes, and say which genes were there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot.pp._expression import Expression, check_values
from scruot.pp._gene_score import gene_score
from scruot.pp._gene_sets import ORGANISMS, built_in
from scruot.pp._genes import choose_organism, find_genes, listed

__all__ = ["Kind", "SetScore", "score_sets"]

logger = logging.getLogger(__name__)

# Fewer genes of a set than this are an accident of gene selection, not a measurement of it.
_MIN_GENES = 3
Kind = Literal["proliferation", "apoptosis"]
_RATE: dict[Kind, str] = {"proliferation": "birth", "apoptosis": "death"}


@dataclass(frozen=True)
class SetScore:
    """Score of one set, shape (n,), and where it comes from."""

    values: NDArray[np.float64]
    record: dict[str, Any]


def score_sets(
    adata: AnnData,
    expression: Expression,
    organism: str,
    given: dict[Kind, tuple[str, ...] | None],
) -> tuple[dict[Kind, SetScore], str]:
    """Return the score of both sets and the organism, ``""`` where none was needed.

    Parameters
    ----------
    adata
        The object, for remedies only.
    expression
        Where to read.
    organism
        As the user gave it.
    given
        The sets; ``None`` means our own.

    Raises
    ------
    ValueError
        When too few genes are there or vary.
    """
    if organism not in ("auto", *ORGANISMS) or None in given.values():
        species = choose_organism(organism, expression.symbols)
    else:
        species = None
    scores: dict[Kind, SetScore] = {}
    for kind, own in given.items():
        wanted = own
        if wanted is None:
            wanted = built_in(kind, species or "human")
        level = logging.INFO if own is None else logging.WARNING
        scores[kind] = _score_set(adata, expression, kind, wanted, level)
    return scores, species or ""


def _score_set(
    adata: AnnData, expression: Expression, kind: Kind, wanted: tuple[str, ...], level: int
) -> SetScore:
    genes = find_genes(wanted, expression.symbols, kind, level=level)
    enough = min(_MIN_GENES, len(wanted))
    if len(genes.names) < enough:
        raise ValueError(_too_few(adata, expression, kind, wanted, genes.names, enough))
    values = expression.take(genes.columns)
    check_values(values, genes.names, expression.label)
    score = gene_score(values)
    used = [name for name, varies in zip(genes.names, score.varies, strict=True) if varies]
    constant = [name for name in genes.names if name not in used]
    if len(used) < enough:
        msg = (
            f"Found {len(genes.names)} {kind} genes in {expression.label}, of which only "
            f"{len(used)} vary between cells; expected {enough} or more. Pass expression that was "
            f"not filtered, other {kind}_genes, or {kind}_genes=[] to leave them out."
        )
        raise ValueError(msg)
    _say_genes(kind, wanted, used, genes.missing, constant, score.reliability)
    record = {
        "genes": np.asarray(used, dtype=object),
        "missing": np.asarray(genes.missing, dtype=object),
        "constant": np.asarray(constant, dtype=object),
        "reliability": score.reliability,
    }
    return SetScore(score.values, record)


def _say_genes(
    kind: Kind,
    wanted: tuple[str, ...],
    used: list[str],
    missing: tuple[str, ...],
    constant: list[str],
    reliability: float,
) -> None:
    if not wanted:
        logger.info("No %s genes: every cell has the same %s rate.", kind, _RATE[kind])
        return
    absent = f"; missing: {', '.join(missing)}" if missing else ""
    same = f"; the same in all cells: {', '.join(constant)}" if constant else ""
    logger.info(
        "%s: %d of %d genes (reliability %.2f)%s%s.",
        kind.capitalize(),
        len(used),
        len(wanted),
        reliability,
        absent,
        same,
    )
    if reliability < 0.1:
        logger.warning(
            "The %d %s genes hardly vary together (%.0f %% of the variance of their mean is "
            "shared): the score is almost the same for all cells.",
            len(used),
            kind,
            100 * reliability,
        )


def _too_few(
    adata: AnnData,
    expression: Expression,
    kind: Kind,
    wanted: tuple[str, ...],
    found: tuple[str, ...],
    enough: int,
) -> str:
    """Say what was found, and where the genes may be instead."""
    symbols = expression.symbols
    some = f" ({', '.join(found)})" if found else ""
    remedies = []
    column = _column_with(adata.var, wanted)
    if column is not None:
        remedies.append(f"the symbols seem to be in adata.var: pass gene_symbols={column!r}")
    elif len(symbols) and symbols.str.match(r"ENS[A-Z]*G\d{6}").mean() > 0.5:
        remedies.append("the names are Ensembl identifiers: name a column of symbols, gene_symbols")
    if expression.label != "adata.raw" and adata.raw is not None:
        remedies.append("adata.raw may have them: pass use_raw=True")
    remedies.append(f"pass {kind}_genes of your own, or [] to leave {kind} out")
    return (
        f"Found {len(found)} of {len(wanted)} {kind} genes{some} among the {len(symbols)} of "
        f"{expression.label}, named e.g. {listed(symbols[:3])}; expected {enough} or more. "
        f"Remedy: {'; '.join(remedies)}."
    )


def _column_with(var: pd.DataFrame, wanted: tuple[str, ...]) -> str | None:
    """Return the column of ``var`` that holds most of the wanted names, if any holds some."""
    folded = {gene.casefold() for gene in wanted}
    counts = {
        str(name): int(var[name].astype(str).str.casefold().isin(folded).sum())
        for name in var.columns
        if not pd.api.types.is_numeric_dtype(var[name])
    }
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] >= min(_MIN_GENES, len(wanted)) else None
