"""Conditions and replicates of cells whose fates are asked for: read, checked and made use of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot.fates import Wrapper, shares
from scruot.io.read import read_obs
from scruot.io.samples import sample_labels
from scruot.tl._fate_carry import Carried, FateCells
from scruot.tl._fate_conditions import Conditions, conditional_shift, within
from scruot.tl._fate_errors import bootstrap_errors
from scruot.tl._fate_run import Run
from scruot.tl._fate_sources import refuse


@dataclass(frozen=True, eq=False)
class Samples:
    """Which condition and replicate cells are of, and what is asked of them.

    Parameters
    ----------
    conditions
        Conditions that are followed by themselves.
    replicates
        Replicate of every cell, shape (n,).
    condition_key, replicate_key
        Their columns.
    n_bootstrap, n_permutations
        Repetitions for standard errors and for the test; ``None`` for neither.
    random_state
        Seed of both.
    """

    conditions: Conditions | None
    replicates: NDArray[np.int64] | None
    condition_key: str | None
    replicate_key: str | None
    n_bootstrap: int | None
    n_permutations: int | None
    random_state: int

    @classmethod
    def read(
        cls,
        adata: AnnData,
        condition_key: str | None,
        replicate_key: str | None,
        *,
        stochastic: bool,
        n_bootstrap: int | None,
        n_permutations: int | None,
        random_state: int,
    ) -> Samples:
        """Read the columns.

        Raises
        ------
        KeyError, ValueError
            For columns that are missing or do not fit, and arguments that do not go together.
        """
        if stochastic and condition_key is not None:
            msg = (
                f"Found condition_key={condition_key!r} with stochastic=True, where one model "
                "carries the cells of all conditions alike; leave stochastic out, or leave "
                "condition_key out and compare with scruot.tl.fate_shift."
            )
            raise ValueError(msg)
        if stochastic and replicate_key is not None:
            msg = (
                f"Found replicate_key={replicate_key!r} with stochastic=True, where standard "
                "errors are those of the simulations; leave either out."
            )
            raise ValueError(msg)
        if replicate_key is not None and n_bootstrap is None and condition_key is None:
            msg = (
                f"Found replicate_key={replicate_key!r}, which would not be read: give n_bootstrap "
                "for standard errors over replicates, or condition_key to compare conditions."
            )
            raise ValueError(msg)
        conditions = replicates = None
        if condition_key is not None:
            conditions = Conditions.read(adata, condition_key, replicate_key)
            replicates = conditions.replicates
        elif replicate_key is not None:
            column = read_obs(adata, replicate_key, "replicate column")
            labels = sample_labels(column, replicate_key, "replicate_key")
            replicates = np.asarray(labels.codes, dtype=np.int64)
        return cls(
            conditions,
            replicates,
            condition_key,
            replicate_key,
            n_bootstrap,
            n_permutations,
            random_state,
        )

    def run(self, follow: Run) -> Run:
        """Return what follows all cells, by what follows the cells of one condition."""
        if self.conditions is None:
            return follow
        codes = self.conditions.codes

        def apart(cells: FateCells, each: Wrapper | None) -> Carried:
            return within(cells, codes, follow)

        return apart

    def check(self, cells: FateCells) -> None:
        """Refuse samples that say nothing, and couplings that cannot be made again for them.

        Raises
        ------
        ValueError
            For conditions that cannot be followed, where replicates are too few for errors, and
            for either of them with stored couplings.
        """
        if cells.stored is not None:
            refuse(
                {"n_bootstrap": self.n_bootstrap, "condition_key": self.condition_key},
                "stored couplings, which cannot be repeated with other cells or weights; leave it "
                "out, or delete the couplings to have new ones",
            )
        if self.conditions is not None:
            self.conditions.check(cells)
        if self.n_bootstrap is None or self.replicates is None:
            return
        part = self._parts(len(cells.x))
        for t in cells.times:
            for c in np.unique(part[cells.time == t]):
                here = (cells.time == t) & (part == c)
                if len(np.unique(self.replicates[here])) < 2:
                    of = "" if self.conditions is None else f", {self.conditions.names[c]!r}"
                    msg = (
                        f"Found one replicate in obs[{self.replicate_key!r}] at time {t:g}{of}; "
                        "expected at least two, without which nothing says how far replicates "
                        "differ: leave n_bootstrap out."
                    )
                    raise ValueError(msg)

    def errors(self, cells: FateCells, found: Carried, follow: Run) -> NDArray[np.float64] | None:
        """Return standard errors of the shares, where they are asked for."""
        if self.n_bootstrap is None or found.errors is not None:
            return None if self.n_bootstrap is None else found.errors
        return bootstrap_errors(
            cells,
            self.run(follow),
            self.n_bootstrap,
            self.random_state,
            self.replicates,
            self._parts(len(cells.x)),
        )

    def shift(
        self,
        cells: FateCells,
        found: Carried,
        follow: Run,
        progress: Callable[[Iterable[Any]], Iterable[Any]],
    ) -> pd.DataFrame | None:
        """Return the shifts between conditions, where there are some."""
        if self.conditions is None or self.n_permutations is None:
            return None
        return conditional_shift(
            cells,
            self.conditions,
            shares(found.mass[:, :-1]),
            follow,
            n_permutations=self.n_permutations,
            random_state=self.random_state,
            progress=progress,
        )

    def _parts(self, n: int) -> NDArray[np.int64]:
        return np.zeros(n, dtype=np.int64) if self.conditions is None else self.conditions.codes
