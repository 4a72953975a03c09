"""What carries cells to their fates, made ready before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import FateSlots, slots
from scruot.dynamics.model import Dynamics
from scruot.fates import Wrapper
from scruot.tl import _fate_carry as carry
from scruot.tl._fate_sources import coupled_cells
from scruot.tl._fate_states import NamedStates, States, read_states
from scruot.tl._fitted import read_fitted


class Run(Protocol):
    """What computes the fates of some cells."""

    def __call__(self, cells: carry.FateCells, each: Wrapper | None) -> carry.Carried:
        """Follow cells; ``each`` wraps the loop over iterations."""


@dataclass(frozen=True)
class Asked:
    """What a user asked for; read once the times are known."""

    groupby: str | None
    named: NamedStates
    slots: FateSlots

    def read(self, adata: AnnData, time: NDArray[np.float64], usable: NDArray[np.bool_]) -> States:
        return read_states(adata, self.groupby, self.named, time, usable, self.slots)


def from_dynamics(
    adata: AnnData,
    asked: Asked,
    key: str | None,
    device: str,
    n_simulations: int | None,
    random_state: int,
) -> tuple[carry.FateCells, Run]:
    """Return the cells of a fit, and what computes their fates.

    With ``n_simulations`` that is a simulation of each cell so many times, with the noise of the
    model; without, couplings of where its flow leads.
    """
    fitted = read_fitted(adata, key, device)
    model: Dynamics = fitted.model
    if n_simulations is not None and not model.stochastic:
        msg = (
            f"Found stochastic=True, but uns[{slots(key).key!r}] holds a deterministic model "
            f"({model.method!r}); leave it out."
        )
        raise ValueError(msg)
    states = asked.read(adata, fitted.time, fitted.mass > 0)
    cells = carry.FateCells(fitted.x, fitted.time, fitted.mass, fitted.reference, states=states)
    if n_simulations is not None:

        def simulate(cells: carry.FateCells, each: Wrapper | None) -> carry.Carried:
            return carry.by_simulation(
                cells, model, n_simulations=n_simulations, random_state=random_state
            )

        return cells, simulate

    def flow(cells: carry.FateCells, each: Wrapper | None) -> carry.Carried:
        return carry.by_flow(cells, model, random_state=random_state, each=each)

    return cells, flow


def from_transport(
    adata: AnnData,
    asked: Asked,
    key: str | None,
    reading: dict[str, Any],
    random_state: int,
) -> tuple[carry.FateCells, Run]:
    """Return the cells of stored couplings, or of automatic ones, and what computes their fates."""
    found = coupled_cells(adata, key, reading)
    usable = found.used if found.stored is not None else found.mass > 0
    states = asked.read(adata, found.time, usable)
    cells = carry.FateCells(
        found.x, found.time, found.mass, found.used, found.stored, states=states
    )

    def couple(cells: carry.FateCells, each: Wrapper | None) -> carry.Carried:
        return carry.by_coupling(cells, random_state=random_state, each=each)

    return cells, couple
