"""Cells at a time between two snapshots, from the coupling of these: a check on couplings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray

from scruot._keys import TRANSPORT
from scruot.io.read import Cells
from scruot.tl._clouds import Cloud
from scruot.tl._couple import couple_interval
from scruot.tl._transport_params import TransportParams, check_batches, make_params
from scruot.tl._transport_prior import rates_by_time, read_rate_column, require_finite_rates
from scruot.transport import interpolate
from scruot.transport.interpolation import interpolate_wfr


@dataclass(frozen=True, eq=False)
class TransportCandidate:
    """Static transport with its parameters, as a prediction of times between its snapshots."""

    params: TransportParams
    text: str
    rates: NDArray[np.float64] | None
    name: str = TRANSPORT

    def require(self, cells: Cells, times: Sequence[float]) -> None:
        """Refuse times without a later one, rates that are missing, and batches with ``"fate"``.

        Raises
        ------
        ValueError
            For such times, rates and batches.
        """
        check_batches(self.params.method, None if cells.batch is None else "batch_key")
        if max(times) >= cells.time[cells.fitted].max():
            msg = (
                f"Cannot predict time {max(times):g} with method 'transport': couplings need a "
                "later time. Leave out middle times alone."
            )
            raise ValueError(msg)
        if self.rates is not None:
            require_finite_rates(self.rates, str(self.params.growth), cells)

    def predict(self, cells: Cells, time: float, *, seed: int, device: torch.device) -> Cloud:
        """Return the displacement interpolation of the neighbouring snapshots."""
        snapshots = cells.snapshots().to(device)
        k = max(j for j, t in enumerate(snapshots.times) if t < time)
        rates = None if self.rates is None else rates_by_time(self.rates, cells)
        ends = snapshots.x[k], snapshots.x[k + 1]
        share = (time - snapshots.times[k]) / snapshots.durations[k]
        solved = couple_interval(snapshots, self.params, k, rates=rates, random_state=seed)
        if self.params.method == "wfr":
            x, mass = interpolate_wfr(solved.plan, *ends, solved.delta, share=share)
        else:
            # from what the cells weigh, not from what they were expected to become
            x, mass = interpolate(replace(solved.plan, a=solved.masses[0]), *ends, share=share)
        weights = mass.double().cpu().numpy()
        population = float(weights.sum() / float(snapshots.weights[0].sum()))
        return Cloud(x.cpu().numpy(), weights, population)


def read_transport_candidate(
    adata: AnnData, given: Mapping[str, Any], text: str
) -> TransportCandidate:
    """Return static transport with checked parameters.

    Raises
    ------
    KeyError, TypeError, ValueError
        For a missing column of rates, and unknown or wrong parameters.
    """
    params = make_params(given)
    rates = None if params.growth is None else read_rate_column(adata, params.growth)
    return TransportCandidate(params, text, rates)
