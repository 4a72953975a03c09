"""Tables as text for readers and as records for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

__all__ = ["columns_text", "records", "table_text"]


def columns_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return left-aligned columns of words."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def table_text(table: pd.DataFrame) -> str:
    """Return a table of numbers as text, all columns of it."""
    return table.to_string(index=False, float_format="{:.4g}".format, na_rep="-")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON values; a missing number is ``null``."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows
