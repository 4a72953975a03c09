"""Couplings that carry cells to their fates: stored ones, or those of the automatic rule."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import transport_slots
from scruot.fates import Wrapper, automatic_plan, fate_settings
from scruot.io.couplings import read_transport, require_all_cells
from scruot.io.read import read_cells
from scruot.io.representation import read_representation
from scruot.tl._reading import how_to_read
from scruot.transport import AutoSettings, Chain

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Coupled:
    """Cells with the couplings between their times.

    Parameters
    ----------
    x
        Coordinates (n, d).
    time
        Times (n,); NaN for cells outside.
    mass
        Absolute masses (n,).
    used
        Cells that are coupled (n,).
    stored
        Couplings of consecutive times, cells in the order of ``rows``; ``None`` where the
        automatic rule has to find them.
    """

    x: NDArray[np.floating]
    time: NDArray[np.float64]
    mass: NDArray[np.float64]
    used: NDArray[np.bool_]
    stored: Chain | None = None

    @property
    def times(self) -> NDArray[np.float64]:
        """Times of the cells that are used."""
        return np.unique(self.time[self.used])

    def rows(self) -> list[NDArray[np.integer]]:
        """Return the used cells of each time."""
        return [np.flatnonzero(self.used & (self.time == t)) for t in self.times]

    def snapshots(self) -> tuple[list[torch.Tensor], list[torch.Tensor], list[float]]:
        """Return clouds, masses (that stand for all cells of their time), and times."""
        rows = self.rows()
        xs = [torch.from_numpy(np.array(self.x[r], dtype=np.float64)) for r in rows]
        masses = []
        for t, r in zip(self.times, rows, strict=True):
            total = self.mass[self.time == t].sum()
            masses.append(torch.from_numpy(self.mass[r] * (total / self.mass[r].sum())))
        return xs, masses, [float(t) for t in self.times]

    def couple(
        self,
        codes: NDArray[np.integer] | None,
        random_state: int,
        each: Wrapper | None = None,
    ) -> tuple[Chain, AutoSettings | None]:
        """Return the couplings, and the settings of the rule; none without coordinates.

        ``codes`` are the terminal states of all cells, -1 for none.
        """
        if self.stored is not None:
            return self.stored, self.settings(codes) if self.x.shape[1] else None
        logger.info("No couplings are stored: coupling %d cells by the rule 'fate'.", len(self.x))
        settings = self.settings(codes)
        plan = automatic_plan(
            *self.snapshots(), settings=settings, random_state=random_state, each=each
        )
        return plan.chain, plan.settings

    def settings(self, codes: NDArray[np.integer] | None) -> AutoSettings:
        """Return the metric and noise of the rule."""
        return fate_settings(*self.snapshots(), self.states_by_time(codes))

    def states_by_time(self, codes: NDArray[np.integer] | None) -> list[NDArray[np.integer]] | None:
        """Return the terminal states of the used cells of each time."""
        return None if codes is None else [codes[r] for r in self.rows()]


def coupled_cells(adata: AnnData, key: str | None, reading: dict[str, Any]) -> Coupled:
    """Return the cells of stored couplings, or where there are none those to be coupled.

    Raises
    ------
    KeyError, TypeError, ValueError
        For a key without couplings, couplings of other cells, arguments beside stored couplings,
        and data that cannot be read.
    """
    if is_stored(adata, key):
        stored = transport_slots(key).uns
        refuse(
            reading,
            f"stored couplings, uns[{stored!r}], that have their own; leave it out to use them, or "
            "delete them to have new ones",
        )
        return _stored(adata, key)
    cells = read_cells(adata, **filled(adata, reading))
    return Coupled(cells.x, cells.time, cells.mass, cells.fitted)


def is_stored(adata: AnnData, key: str | None) -> bool:
    """Return whether couplings are there, or asked for by name."""
    return key is not None or transport_slots(key).uns in adata.uns


def filled(adata: AnnData, reading: dict[str, Any]) -> dict[str, Any]:
    """Return how cells are read that are to be coupled: as given, as a fit has them, or default."""
    found = dict(reading)
    mass = found.pop("mass")
    return {**how_to_read(adata, **found), "mass": "counts" if mass is None else mass}


def refuse(reading: dict[str, Any], why: str) -> None:
    """Refuse arguments that would not be read.

    Raises
    ------
    ValueError
        For any that is given.
    """
    for name, value in reading.items():
        if value is not None:
            msg = f"Found {name}={value!r} together with {why}."
            raise ValueError(msg)


def _stored(adata: AnnData, key: str | None) -> Coupled:
    found = read_transport(adata, key)
    require_all_cells(
        adata, found, range(len(found.times)), "descendants would be missing in their fates"
    )
    time, mass = np.full(adata.n_obs, np.nan), np.zeros(adata.n_obs)
    order = []
    for k, t in enumerate(found.times):
        rows = adata.obs_names.get_indexer(found.cells[k])
        time[rows], mass[rows] = t, found.mass[k]
        order.append(np.argsort(rows))
    chain = Chain([p[order[k]][:, order[k + 1]] for k, p in enumerate(found.couplings)])
    x = _representation(adata, adata.uns[transport_slots(key).uns]["params"])
    return Coupled(x, time, mass, np.isfinite(time), chain)


def _representation(adata: AnnData, params: Any) -> NDArray[np.floating]:
    """Return the coordinates that were coupled, without columns where nobody knows (imported)."""
    if "use_rep" not in params:
        return np.zeros((adata.n_obs, 0), dtype=np.float32)
    n_dims = str(params.get("n_dims", "null"))
    return read_representation(
        adata, str(params["use_rep"]), None if n_dims == "null" else int(n_dims)
    )
