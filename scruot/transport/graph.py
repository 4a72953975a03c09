"""A sparse bipartite graph of candidate pairs, with sums and maxima over its rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

__all__ = ["EdgeGraph"]


@dataclass(frozen=True, eq=False)
class EdgeGraph:
    """Edges sorted by row and then column, without repeats; reductions are deterministic.

    Attributes
    ----------
    row, col
        End points of the edges, int64, shape ``(nnz,)``.
    shape
        Number of rows and columns.
    """

    row: Tensor
    col: Tensor
    shape: tuple[int, int]

    @classmethod
    def from_pairs(cls, row: Tensor, col: Tensor, shape: tuple[int, int]) -> EdgeGraph:
        """Sort pairs and drop repeats."""
        code = torch.unique(row * shape[1] + col)
        return cls(torch.div(code, shape[1], rounding_mode="floor"), code % shape[1], shape)

    @cached_property
    def by_column(self) -> Tensor:
        """Order of the edges that sorts them by column and then row."""
        return torch.argsort(self.col, stable=True)

    @cached_property
    def row_counts(self) -> Tensor:
        """Edges of each row."""
        return torch.bincount(self.row, minlength=self.shape[0])

    @cached_property
    def col_counts(self) -> Tensor:
        """Edges of each column."""
        return torch.bincount(self.col, minlength=self.shape[1])

    def rows(self, values: Tensor, reduce: Literal["sum", "max", "min"] = "sum") -> Tensor:
        """Reduce edge values over each row; an empty row gives 0, -inf or inf."""
        return torch.segment_reduce(values, reduce, lengths=self.row_counts, unsafe=True)

    def cols(self, values: Tensor, reduce: Literal["sum", "max", "min"] = "sum") -> Tensor:
        """Reduce edge values over each column; an empty column gives 0, -inf or inf."""
        ordered = values[self.by_column]
        return torch.segment_reduce(ordered, reduce, lengths=self.col_counts, unsafe=True)

    def sum_sorted_cols(self, ordered: Tensor) -> Tensor:
        """Sum edge values that are already in the order ``by_column``."""
        return torch.segment_reduce(ordered, "sum", lengths=self.col_counts, unsafe=True)

    def union(self, row: Tensor, col: Tensor) -> EdgeGraph:
        """Add pairs."""
        return self.from_pairs(torch.cat([self.row, row]), torch.cat([self.col, col]), self.shape)
