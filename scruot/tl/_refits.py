"""A fit made again on less, with the parameters that it was made with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scruot import solvers
from scruot._keys import slots
from scruot.solvers.params import make_params
from scruot.tl._cross_validate import cross_validate
from scruot.tl._evaluate import evaluate
from scruot.tl._fit_dynamics import fit_dynamics
from scruot.tl._fitted import FittedCells, stored_mass


@dataclass(frozen=True, eq=False)
class Refits:
    """What is computed where it is not stored; nothing is written to the user's object.

    Parameters
    ----------
    adata
        The cells.
    cells
        The fit with its cells.
    key
        Its ``key_added``.
    groupby
        Groups whose populations are compared.
    scoring
        ``n_cells``, ``random_state`` and ``device``.
    """

    adata: AnnData
    cells: FittedCells
    key: str | None
    groupby: str | None
    scoring: dict[str, Any]

    def evaluation(self) -> dict[str, Any]:
        """Return the stored evaluation, or a new one where it lacks the groups."""
        name = slots(self.key).evaluation
        stored = self.adata.uns.get(name)
        if isinstance(stored, Mapping) and {"table", "simulated", "action"} <= stored.keys():
            has_groups = self.groupby is None or stored.get("groupby") == self.groupby
            if has_groups:
                return dict(stored)
        bare = self._bare()
        evaluate(bare, key=self.key, groupby=self.groupby, **self.scoring)
        return dict(bare.uns[name])

    def half(self, *, progress: bool) -> pd.DataFrame:
        """Fit on half of the cells and return the evaluation."""
        bare = self._bare()
        options = self._options()
        fit_dynamics(
            bare,
            str(self.cells.record["method"]),
            **options,
            mass=stored_mass(self.cells.record),
            holdout_cells=0.5,
            random_state=self.scoring["random_state"],
            device=self.scoring["device"],
            progress=progress,
            **solver_params(self.cells.record),
        )
        return pd.DataFrame(evaluate(bare, **self.scoring))

    def folds(self, *, progress: bool) -> pd.DataFrame:
        """Leave out every middle time and return the table."""
        method = str(self.cells.record["method"])
        found = cross_validate(
            self._bare(),
            method,
            params={method: changed_params(self.cells.record)},
            **self._options(),
            mass=stored_mass(self.cells.record),
            progress=progress,
            **self.scoring,
        )
        return pd.DataFrame(found)

    def _options(self) -> dict[str, Any]:
        params = self.cells.record["params"]
        n_dims = json.loads(str(params.get("n_dims", "null")))
        return {"time_key": str(params["time_key"]), "use_rep": "X_fit", "n_dims": n_dims}

    def _bare(self) -> AnnData:
        """Return an object with the cells, their columns and the fit, that may be written to."""
        uns = {slots(self.key).uns: self.adata.uns[slots(self.key).uns]}
        use_rep = str(self.cells.record["representation"]["use_rep"])
        obsm = {"X_fit": self.cells.x}
        if use_rep != "X":
            obsm[use_rep] = self.adata.obsm[use_rep]
        x = self.adata.X if use_rep == "X" else None
        return AnnData(X=x, obs=self.adata.obs.copy(), obsm=obsm, uns=uns)


def solver_params(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the solver's parameters as the user gave them: h5ad holds some as JSON text."""
    found = {}
    for field in fields(solvers.get(str(record["method"])).params):
        if field.name not in record["params"]:
            continue
        value = record["params"][field.name]
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, str):
            with contextlib.suppress(json.JSONDecodeError):
                value = json.loads(value)
        found[field.name] = tuple(value) if isinstance(value, list) else value
    return found


def changed_params(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the solver's parameters that differ from the defaults."""
    method = str(record["method"])
    default: Any = make_params(solvers.get(method).params, {}, method)
    return {k: v for k, v in solver_params(record).items() if v != getattr(default, k)}
