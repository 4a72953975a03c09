"""A fitted model together with the cells of the object that holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scruot.dynamics.device import resolve_device
from scruot.dynamics.model import Dynamics
from scruot.io.mass import Mass, read_mass
from scruot.io.read import check_names
from scruot.io.store import (
    fitted_labels,
    fitted_representation,
    fitted_times,
    read_model,
    read_record,
)


@dataclass(frozen=True)
class FittedCells:
    """A model, its entry in ``uns``, and the cells.

    Parameters
    ----------
    model
        The model.
    record
        Its entry in ``uns``.
    x
        Coordinates in the fitted representation (n, d).
    time
        Times (n,).
    mass
        Absolute masses by the rule of the fit (n,).
    seen
        Which cells the fit saw (n,).
    labels
        Time of every label, where the time column holds labels.
    """

    model: Dynamics
    record: Mapping[str, Any]
    x: NDArray[np.float32]
    time: NDArray[np.float64]
    mass: NDArray[np.float64]
    seen: NDArray[np.bool_]
    labels: Mapping[str, float]

    @property
    def reference(self) -> NDArray[np.bool_]:
        """Cells to start from and to compare with: those of the fit, or all of other data."""
        if self.seen.any():
            return self.seen
        return (self.mass > 0) & np.isin(self.time, self.model.times)

    def population(self, time: float) -> float:
        """Return the observed population at a time, relative to the first fitted time."""
        first = self.mass[self.time == self.model.times[0]].sum()
        return float(self.mass[self.time == time].sum() / first)


def read_fitted(adata: AnnData, key: str | None, device: str) -> FittedCells:
    """Read the model and the cells, and refuse a representation that has changed.

    Raises
    ------
    KeyError
        When there is no such fit, or its columns or representation are missing.
    ValueError
        When the entry is damaged or the representation has changed since the fit.
    """
    record = read_record(adata, key)
    model = read_model(adata, key, device=resolve_device(device))
    check_names(adata)
    x = fitted_representation(adata, record)
    time = fitted_times(adata, record)
    mass = read_mass(adata.obs, time, stored_mass(record))
    labels = fitted_labels(adata, record, time)
    return FittedCells(model, record, x, time, mass, _seen(adata, record), labels)


def jacobian_at(cells: FittedCells, rows: NDArray[np.intp], quantity: str) -> NDArray[np.float64]:
    """Return the derivatives of a quantity at some cells, each at its own time.

    See :meth:`scruot.dynamics.model.Dynamics.jacobian`.
    """
    found = cells.model.jacobian(quantity, cells.time[rows], cells.x[rows].astype(np.float64))
    return np.asarray(found, dtype=np.float64)


def stored_mass(record: Mapping[str, Any]) -> Mass:
    """Return the mass rule of a fit as it was given: h5ad holds a mapping as JSON text."""
    text = str(record["params"]["mass"])
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return {float(t): float(m) for t, m in value.items()} if isinstance(value, dict) else text


def _seen(adata: AnnData, record: Mapping[str, Any]) -> NDArray[np.bool_]:
    # a model applied to other cells carries no names: it saw none of them
    fitted = np.asarray(record["representation"].get("cells", ()))
    return np.isin(pd.util.hash_array(adata.obs_names.to_numpy(dtype=object)), fitted)
