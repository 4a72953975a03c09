"""A sparse bipartite graph of candidate pairs, with sums and maxima over its rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from scipy.sparse import csr_array
from torch import Tensor

__all__ = ["EdgeGraph"]

Product = Callable[[Tensor], Tensor]


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

    @cached_property
    def _pattern(self) -> tuple[Tensor, Tensor]:
        """Column indices and row pointers as SciPy wants them."""
        ends = torch.cumsum(self.row_counts, 0)
        return self.col.int(), torch.cat([ends.new_zeros(1), ends]).int()

    def rows(self, values: Tensor, reduce: Literal["sum", "max", "min"] = "sum") -> Tensor:
        """Reduce edge values over each row; an empty row gives 0, -inf or inf."""
        return torch.segment_reduce(values, reduce, lengths=self.row_counts, unsafe=True)

    def cols(self, values: Tensor, reduce: Literal["sum", "max", "min"] = "sum") -> Tensor:
        """Reduce edge values over each column; an empty column gives 0, -inf or inf."""
        ordered = values[self.by_column]
        return torch.segment_reduce(ordered, reduce, lengths=self.col_counts, unsafe=True)

    def of_rows(self, values: Tensor) -> Tensor:
        """Repeat the value of each row for its edges."""
        return values.repeat_interleave(self.row_counts, output_size=self.row.numel())

    def products(self, values: Tensor) -> tuple[Product, Product]:
        """Return ``v -> M v`` and ``u -> M' u`` for the matrix of these edge values.

        On the CPU by SciPy's compressed rows, which take one pass and no temporary; elsewhere by
        segments. Either way each sum has a fixed order.
        """
        if values.device.type == "cpu":
            col, start = self._pattern
            entries = (values.numpy(), col.numpy(), start.numpy())
            matrix = csr_array(entries, shape=self.shape)
            turned = matrix.T
            return (
                lambda v: torch.from_numpy(matrix @ v.numpy()),
                lambda u: torch.from_numpy(turned @ u.numpy()),
            )
        ordered, row = values[self.by_column], self.row[self.by_column]
        counts = self.col_counts
        return (
            lambda v: self.rows(values * v[self.col]),
            lambda u: torch.segment_reduce(ordered * u[row], "sum", lengths=counts, unsafe=True),
        )

    def union(self, row: Tensor, col: Tensor) -> EdgeGraph:
        """Add pairs."""
        return self.from_pairs(torch.cat([self.row, row]), torch.cat([self.col, col]), self.shape)

    def subset(self, keep: Tensor) -> EdgeGraph:
        """Keep the edges of a mask."""
        return EdgeGraph(self.row[keep], self.col[keep], self.shape)
