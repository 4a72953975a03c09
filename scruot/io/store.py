"""Fitted models in AnnData: plain arrays in ``uns``, numbers in ``obs`` and ``obsm``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray

from scruot import solvers
from scruot._keys import Slots, basis_name, velocity_genes
from scruot._messages import did_you_mean, unknown
from scruot.dynamics.model import Dynamics
from scruot.io.read import Cells, read_obs
from scruot.io.representation import check_unchanged, fingerprint, read_representation
from scruot.io.time import label_times, read_times
from scruot.solvers.run import FittedModel, from_arrays, to_arrays

_PACKAGES = ("scruot", "torch", "numpy", "anndata")


def plain(value: Any) -> Any:
    """Return a parameter as something that h5ad can hold: a scalar, a word, or JSON text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return json.dumps({str(k): plain(v) for k, v in value.items()})
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return json.dumps([plain(v) for v in value])
    return json.dumps(value)


def model_record(
    fitted: FittedModel, solver_params: Any, call: Mapping[str, Any], cells: Cells, names: Any
) -> dict[str, Any]:
    """Return the ``uns`` entry of a fit.

    Parameters
    ----------
    fitted
        What the solver returned.
    solver_params
        The solver's parameters.
    call
        Parameters of the call that are not the solver's; ``use_rep`` among them.
    cells
        The cells that were read.
    names
        Names of all cells.
    """
    spec, weights = to_arrays(fitted.dynamics)
    ranks = {} if cells.ranks is None else {"time_labels": json.dumps(cells.ranks)}
    return {
        "method": fitted.dynamics.method,
        "params": {k: plain(v) for k, v in {**call, **asdict(solver_params)}.items()},
        "resolved": dict(fitted.resolved),
        "representation": {
            "use_rep": call["use_rep"],
            "n_dims": cells.x.shape[1],
            **fingerprint(cells.x[cells.fitted], names[cells.fitted]),
        },
        "versions": {package: version(package) for package in _PACKAGES},
        "history": {k: np.asarray(v) for k, v in fitted.history.items()},
        "fit": dict(fitted.quality),
        "weights": weights,
        "spec": spec,
        **ranks,
    }


def read_model(
    adata: AnnData, key: str | None = None, *, device: torch.device | None = None
) -> Dynamics:
    """Rebuild the model that ``adata`` holds; nothing in it is executed.

    Raises
    ------
    KeyError
        When there is no such fit.
    ValueError
        When the entry is damaged.
    """
    record = read_record(adata, key)
    method = str(record["method"])
    if method not in solvers.names():
        msg = (
            f"{unknown('method', method, solvers.names())} If it is one of your own, call "
            "scruot.solvers.register with it first."
        )
        raise ValueError(msg)
    solver = solvers.get(method)
    weights = {k: np.asarray(v) for k, v in record["weights"].items()}
    return from_arrays(solver, str(record["spec"]), weights, device or torch.device("cpu"))


def read_record(adata: AnnData, key: str | None = None) -> Mapping[str, Any]:
    """Return the ``uns`` entry of a fit, checked for what every entry has."""
    name = Slots().uns if key is None else key
    if name not in adata.uns:
        fits = [k for k, v in adata.uns.items() if isinstance(v, Mapping) and "spec" in v]
        found = f"found fits {fits}" if fits else "found no fit at all"
        msg = (
            f"No fitted dynamics in uns[{name!r}] ({found}).{did_you_mean(name, fits)} "
            "Call scruot.tl.fit_dynamics(adata) first, or give the key_added of the fit as key."
        )
        raise KeyError(msg)
    record = adata.uns[name]
    wanted = ("method", "params", "representation", "weights", "spec")
    missing = [k for k in wanted if not isinstance(record, Mapping) or k not in record]
    if missing:
        msg = f"uns[{name!r}] is no complete fit of scruot (missing: {missing}); fit again."
        raise ValueError(msg)
    return record


def fitted_representation(
    adata: AnnData, record: Mapping[str, Any], *, check: bool = True
) -> NDArray[np.float32]:
    """Return the coordinates of all cells in the representation of a fit.

    With ``check``, coordinates that have changed at the fitted cells are refused.
    """
    stored = record["representation"]
    use_rep, n_dims = str(stored["use_rep"]), int(stored["n_dims"])
    matrix = read_representation(adata, use_rep)
    # n_dims=None at the fit meant all columns there were
    whole = str(record["params"].get("n_dims", "null")) == "null"
    if matrix.shape[1] < n_dims or (whole and matrix.shape[1] != n_dims):
        msg = (
            f"{use_rep!r} has {matrix.shape[1]} columns, the model was fitted on {n_dims}: the "
            "representation has changed. Restore it or fit again."
        )
        raise ValueError(msg)
    matrix = matrix[:, :n_dims]
    # a model applied to other cells carries no fingerprint
    if check and "cells" in stored:
        check_unchanged(matrix, adata.obs_names, stored, use_rep)
    return matrix


def fitted_times(adata: AnnData, record: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the times of all cells in the time column of a fit."""
    time_key = str(record["params"]["time_key"])
    return read_times(read_obs(adata, time_key, "time column"), time_key, _ranks(record))


def fitted_labels(
    adata: AnnData, record: Mapping[str, Any], times: NDArray[np.float64]
) -> dict[str, float]:
    """Return the time of every label in the time column of a fit; nothing for numbers."""
    column = read_obs(adata, str(record["params"]["time_key"]), "time column")
    return {**(_ranks(record) or {}), **label_times(column, times)}


def _ranks(record: Mapping[str, Any]) -> dict[str, float] | None:
    found: dict[str, float] | None = json.loads(str(record.get("time_labels", "null")))
    return found


def evaluate_at_cells(
    dynamics: Dynamics, time: NDArray[np.float64], x: NDArray[np.float32], slots: Slots, basis: str
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float64]]]:
    """Return the ``obsm`` and ``obs`` entries of a model at cells ``x`` at times ``time``."""
    obsm: dict[str, NDArray[Any]] = {slots.velocity(basis): dynamics.velocity(time, x)}
    obs: dict[str, NDArray[Any]] = {slots.growth: dynamics.growth(time, x)}
    if dynamics.stochastic:
        obsm[slots.drift(basis)] = dynamics.drift(time, x)
        obsm[slots.score(basis)] = dynamics.score(time, x)
    if "potential" in dynamics.learns:
        obs[slots.potential] = dynamics.potential(time, x)
    if "log_density" in dynamics.learns:
        obs[slots.log_density] = dynamics.log_density(time, x)
    if dynamics.n_models > 1:
        obsm[slots.velocity_std(basis)] = dynamics.spread("velocity", time, x)
        obs[slots.growth_std] = dynamics.spread("growth", time, x)
    return (
        {k: v.astype(np.float32) for k, v in obsm.items()},
        {k: v.astype(np.float64) for k, v in obs.items()},
    )


def check_writable(adata: AnnData, *, copy: bool) -> None:
    """Refuse a view of a file, which cannot be written to.

    Raises
    ------
    ValueError
        For such a view.
    """
    if adata.is_view and adata.isbacked and not copy:
        msg = (
            "Found a view of a backed AnnData, which cannot be written to; expected cells in "
            "memory or the whole file: call adata.to_memory() first, or use copy=True."
        )
        raise ValueError(msg)


def check_free(adata: AnnData, slots: Slots) -> None:
    """Refuse to replace an entry of ``uns`` that is no fit.

    Raises
    ------
    ValueError
        For such an entry.
    """
    held = adata.uns.get(slots.uns)
    parts = {"spec", "weights", "method"}
    # a transport has a method, too, but is no fit
    is_fit = isinstance(held, Mapping) and parts & held.keys() and "couplings" not in held
    if held is not None and not is_fit:
        msg = (
            f"Found uns[{slots.uns!r}], which is no fit of scruot and would be lost; expected a "
            "free name: give another key_added, or delete the entry."
        )
        raise ValueError(msg)


def writable(adata: AnnData, *, copy: bool) -> AnnData:
    """Return what results are written to: ``adata`` itself, or a copy in memory."""
    if not copy:
        return adata
    return adata.to_memory() if adata.isbacked else adata.copy()


def write_fit(
    adata: AnnData,
    record: Mapping[str, Any],
    obsm: Mapping[str, NDArray[np.float32]],
    obs: Mapping[str, NDArray[Any]],
    slots: Slots,
) -> None:
    """Write a model and its quantities, and drop all of an earlier fit under the same key."""
    bases = _bases(record) | _bases(adata.uns.get(slots.uns))
    for basis in sorted(bases):
        kinds = (slots.velocity, slots.drift, slots.score, slots.velocity_std)
        for name in (kind(basis) for kind in kinds):
            if name not in obsm and name in adata.obsm:
                del adata.obsm[name]
    for name in (slots.potential, slots.log_density, slots.growth_std, slots.holdout):
        if name not in obs and name in adata.obs:
            del adata.obs[name]
    _drop_gene_velocity(adata, adata.uns.get(slots.uns))
    for name, matrix in obsm.items():
        adata.obsm[name] = matrix
    for name, column in obs.items():
        adata.obs[name] = column
    adata.uns[slots.uns] = record
    adata.uns.pop(slots.evaluation, None)
    adata.uns.pop(slots.diagnosis, None)


def _drop_gene_velocity(adata: AnnData, record: Any) -> None:
    """Take away the velocity of genes that an earlier fit led to."""
    held = record.get("gene_velocity") if isinstance(record, Mapping) else None
    layer = str(held["layer"]) if isinstance(held, Mapping) and "layer" in held else ""
    if layer in adata.layers:
        del adata.layers[layer]
    if velocity_genes(layer) in adata.var:
        del adata.var[velocity_genes(layer)]


def _bases(record: Any) -> set[str]:
    """Return the bases in which a fit, perhaps a damaged one, has written velocities."""
    if not isinstance(record, Mapping):
        return set()
    fitted, projected = record.get("representation"), record.get("projection")
    bases = set(projected) if isinstance(projected, Mapping) else set()
    if isinstance(fitted, Mapping) and "use_rep" in fitted:
        bases.add(basis_name(str(fitted["use_rep"])))
    return bases
