"""Couplings of consecutive snapshots by the names of their cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from scruot.io.time import as_time
from scruot.transport import Chain


@dataclass(frozen=True, eq=False)
class Transport:
    r"""Couplings :math:`P^k` from each time to the next, and what follows from them.

    ``P[i, j]`` is the mass at the later time that descends from cell ``i`` and is cell ``j``.
    Couplings over several intervals are products, :math:`P^0 \mathrm{diag}(1/r^1) P^1` with the
    masses :math:`r^1` that the cells in between have received
    (:class:`scruot.transport.Chain`): each hands on what it received in the shares of its own row.

    Attributes
    ----------
    times
        Times, shape ``(K + 1,)``, in the user's unit.
    cells
        Names of the cells at each time.
    mass
        Mass of each cell at each time, before any growth prior.
    couplings
        Sparse matrices, ``(n_k, n_{k+1})``, rows and columns in the order of ``cells``.
    quality
        One row per interval: see :func:`scruot.tl.transport`.
    method
        How the couplings were found.
    source
        Mass of each cell at the start of each interval, where batches share it otherwise than
        ``mass`` says; empty without batches.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> transport = scruot.get.transport(adata)
    >>> transport.coupling(0, 4).n_obs == len(transport.cells[0])
    True
    """

    times: NDArray[np.float64]
    cells: tuple[pd.Index, ...]
    mass: tuple[NDArray[np.float64], ...]
    couplings: tuple[csr_matrix, ...]
    quality: pd.DataFrame
    method: str
    labels: Mapping[str, float] = field(default_factory=dict)
    source: tuple[NDArray[np.float64], ...] = ()

    def index(self, time: float | str) -> int:
        """Return the position of a time, given as a number or by its label.

        Raises
        ------
        ValueError
            For a time that is none of the transport's.
        """
        found = np.flatnonzero(self.times == as_time(time, self.labels))
        if len(found) == 0:
            known = list(self.labels) or self.times.tolist()
            msg = f"Found time {time!r}; expected one of {known}."
            raise ValueError(msg)
        return int(found[0])

    def span(self, source_time: float | str, target_time: float | str) -> tuple[int, int]:
        """Return the positions of two times, the first before the second.

        Raises
        ------
        ValueError
            For any others.
        """
        first, last = self.index(source_time), self.index(target_time)
        if first >= last:
            msg = (
                f"Found source_time={source_time!r} and target_time={target_time!r}; expected the "
                "source before the target."
            )
            raise ValueError(msg)
        return first, last

    @cached_property
    def chain(self) -> Chain:
        """The couplings without names, by the positions of times."""
        return Chain(list(self.couplings))

    def coupling(
        self, source_time: float | str, target_time: float | str, *, kept_mass: float = 1.0
    ) -> AnnData:
        """Return the coupling of any two times, composed, with the names of the cells.

        Composed couplings fill up; :meth:`push` and :meth:`pull` do without them.

        Parameters
        ----------
        source_time, target_time
            Two of ``times``, the earlier first.
        kept_mass
            Below 1: after each product only the largest entries that hold this share of their row
            are kept, and scaled up to its mass.

        Returns
        -------
        Sparse ``X`` with source cells as ``obs_names`` and target cells as ``var_names``.

        Raises
        ------
        MemoryError
            When it would take more than a gigabyte.
        """
        first, last = self.span(source_time, target_time)
        return AnnData(
            csr_matrix(self.chain.between(first, last, kept_mass=kept_mass)),
            obs=pd.DataFrame(index=self.cells[first].astype(str)),
            var=pd.DataFrame(index=self.cells[last].astype(str)),
        )

    def push(
        self,
        mass: ArrayLike | pd.Series | None = None,
        *,
        source_time: float | str,
        target_time: float | str,
    ) -> pd.Series:
        """Carry mass forward: where descendants are.

        Parameters
        ----------
        mass
            Mass of each cell of ``source_time`` that is followed: an array in the order of
            ``cells``, or a series by cell names (others count 0). By default all of it.
        source_time, target_time
            Two of ``times``, the earlier first.

        Returns
        -------
        Mass at the cells of ``target_time`` that descends from it.
        """
        first, last = self.span(source_time, target_time)
        share = self._given(mass, first) / self.mass[first]
        return pd.Series(self.chain.push(share, first, last), index=self.cells[last])

    def pull(
        self,
        mass: ArrayLike | pd.Series | None = None,
        *,
        source_time: float | str,
        target_time: float | str,
    ) -> pd.Series:
        """Trace mass back: where ancestors are.

        Parameters
        ----------
        mass
            Mass of each cell of ``target_time`` that is traced, as in :meth:`push`. By default
            all of it.
        source_time, target_time
            Two of ``times``, the earlier first.

        Returns
        -------
        Mass, at ``target_time``, that descends from each cell of ``source_time``.
        """
        first, last = self.span(source_time, target_time)
        share = self._given(mass, last) / self.mass[last]
        return pd.Series(self.chain.pull(share, first, last), index=self.cells[first])

    def growth(self, interval: int) -> pd.Series:
        """Return growth per unit of time over an interval, ``log(row mass / mass) / duration``.

        A cell without descendants has minus infinity, one that was not coupled NaN.
        """
        leaving = np.asarray(self.couplings[interval].sum(axis=1)).ravel()
        own = self.source[interval] if self.source else self.mass[interval]
        # cells of a batch that is not at the other end have neither mass nor descendants
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(leaving / own)
        duration = self.times[interval + 1] - self.times[interval]
        return pd.Series(ratio / duration, index=self.cells[interval])

    def rates(self) -> list[pd.Series]:
        """Return growth at the time of the cells, per unit of time, a series for each time.

        :meth:`growth` is that of the interval after a time. Rates change on the way, so that at a
        time between two intervals the mean of both is nearer: of what the ancestors of a cell did
        before, by the mass that they gave it, and of what it does after. At the first time, and for
        cells without ancestors, it is the latter, at the last time the former.
        """
        before = np.full(len(self.cells[0]), np.nan)
        found = []
        for k, plan in enumerate(self.couplings):
            after = self.growth(k).to_numpy()
            own = np.where(np.isfinite(before), before, after)
            found.append(pd.Series(0.5 * (own + after), index=self.cells[k]))
            # who has no descendants is nobody's ancestor
            sent = np.where(np.isfinite(after), after, 0.0)
            with np.errstate(invalid="ignore"):
                before = (plan.T @ sent) / np.asarray(plan.sum(axis=0)).ravel()
        return [*found, pd.Series(before, index=self.cells[-1])]

    def _given(self, mass: ArrayLike | pd.Series | None, k: int) -> NDArray[np.float64]:
        if mass is None:
            return self.mass[k].copy()
        if isinstance(mass, (pd.Series, Mapping)):
            series = pd.Series(mass)
            strange = ~series.index.isin(self.cells[k])
            if strange.any():
                msg = (
                    f"Found {int(strange.sum())} names that are no cells of time {self.times[k]:g} "
                    f"(first: {series.index[strange][0]!r}); expected some of its cells."
                )
                raise KeyError(msg)
            if not series.index.is_unique:
                twice = series.index[series.index.duplicated()][0]
                msg = f"Found mass with several values for the cell {twice!r}; expected one."
                raise ValueError(msg)
            mass = series.reindex(self.cells[k], fill_value=0.0)
        values = np.asarray(mass, dtype=np.float64)
        if values.shape != self.mass[k].shape:
            msg = f"Found mass of shape {values.shape}; expected {self.mass[k].shape}."
            raise ValueError(msg)
        if not np.isfinite(values).all() or (values < 0).any():
            msg = "Found mass with negative or non-finite values; expected masses >= 0."
            raise ValueError(msg)
        return values
