"""Fit a dynamical system to time-labelled cells."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from anndata import AnnData

from scruot import solvers
from scruot._checks import check_seed, whole
from scruot._keys import Slots, basis_name, slots
from scruot.dynamics.device import resolve_device
from scruot.io.mass import Mass, describe_mass
from scruot.io.read import read_cells
from scruot.io.samples import sizes_given
from scruot.io.store import (
    check_free,
    check_writable,
    evaluate_at_cells,
    model_record,
    writable,
    write_fit,
)
from scruot.solvers.params import make_params
from scruot.solvers.problem import Solver
from scruot.solvers.resample import Replicates
from scruot.solvers.run import fit_snapshots
from scruot.tl._checks import require_coupled

logger = logging.getLogger(__name__)


def fit_dynamics(
    adata: AnnData,
    method: str = "wfrfm",
    *,
    time_key: str = "time",
    use_rep: str = "X_pca",
    n_dims: int | None = None,
    mass: Mass = "counts",
    holdout: float | str | Iterable[float | str] | None = None,
    holdout_cells: float | str | None = None,
    batch_key: str | None = None,
    replicate_key: str | None = None,
    n_models: int = 1,
    device: str = "auto",
    random_state: int = 0,
    key_added: str | None = None,
    checkpoint: str | PathLike[str] | None = None,
    progress: bool = True,
    copy: bool = False,
    **solver_params: Any,
) -> AnnData | None:
    """Infer how cells move and grow from snapshots at known times.

    Fits ``dX = b(t, X) dt + sigma dW`` (displacement) and ``d log w = g(t, X) dt`` (growth)
    so that the first snapshot, carried on, becomes the later ones, with their populations.

    Parameters
    ----------
    adata
        Cells of all times; at least two times. Only ``obs`` and the representation are read.
    method
        One of :func:`scruot.solvers.names`.
    time_key
        Column of ``obs`` with the times: numbers, labels with one number each
        (``"day 3"``), or ordered categories. The numbers' unit is the unit of everything
        that is written.
    use_rep
        Key of ``obsm`` with the representation, or ``"X"``.
    n_dims
        How many of its leading columns to use; all by default.
    mass
        What the population was at each time: ``"counts"`` takes the number of cells (which
        may reflect capture rather than growth), ``"equal"`` the same at all times, a mapping
        from time to population gives it, and the name of an ``obs`` column gives weights of
        the cells.
    holdout
        Time or times to leave out of the fit, as numbers or labels, e.g. to test the prediction
        there.
    holdout_cells
        Share of every snapshot's cells to leave out, or a boolean column of ``obs``.
    batch_key
        Column of ``obs`` with batches: cells are coupled within their batch alone. How many cells
        a batch has at a time is taken for capture: each batch grows as the whole does. Batches
        must span the times. Only for methods that learn from couplings,
        ``scruot.solvers.get(method).coupled``.
    replicate_key
        Column of ``obs`` with replicates, at least two at every time; their names may differ
        between times. The ensemble, of which there must be one, then draws whole replicates and
        not cells: its spread is the standard error over replicates.
    n_models
        Size of the ensemble. With two or more, each is fitted with its own seed on cells
        drawn with replacement; the model is their mean, and their spread is written.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    random_state
        Seed. The same call on the same CPU gives the same bits; on a GPU sums may be taken in
        another order.
    key_added
        Prefix of all slots, so that several fits live side by side; ``"dynamics"`` by default.
    checkpoint
        File of the training state. An interrupted call, started again with the same
        arguments, goes on from it and ends as if it had never been interrupted. An ensemble has
        one per member: ``fit.0.npz``, ``fit.1.npz``, ... for ``"fit.npz"``.
    progress
        Whether to show progress bars.
    copy
        Whether to return a copy instead of writing to ``adata``.
    **solver_params
        Parameters of the method: see :func:`scruot.solvers.describe`.

    Returns
    -------
    ``None``, or the copy. Written, with ``basis`` the name of ``use_rep`` without ``X_``:

    ``adata.obsm["velocity_<basis>"]`` : array (n, d), float32
        Velocity of each cell at its own time, in units of the representation per unit time.
    ``adata.obs["growth"]`` : float
        Growth rate of each cell at its own time, per unit time.
    ``adata.obsm["drift_<basis>"]``, ``adata.obsm["score_<basis>"]``
        For stochastic methods.
    ``adata.obs["potential"]``, ``adata.obs["log_density"]``
        For methods that learn one.
    ``adata.obsm["velocity_std_<basis>"]``, ``adata.obs["growth_std"]``
        Spread over the ensemble, with ``n_models >= 2``; with ``replicate_key`` the standard
        errors over replicates.
    ``adata.obs["dynamics_holdout"]`` : bool
        Cells left out, with ``holdout_cells``.
    ``adata.uns["dynamics"]`` : dict
        The model as plain arrays, parameters, loss history, versions.

    Raises
    ------
    KeyError
        For a missing column or representation.
    TypeError, ValueError
        For an unknown method or parameter, a value out of range, or data that cannot be
        fitted; raised before anything is computed, and nothing is written then.
    FloatingPointError
        When training diverges.

    See Also
    --------
    scruot.tl.evaluate : how good the fit is, beside nulls.
    scruot.tl.simulate : carry cells through time.
    scruot.get.dynamics : the model as a callable.

    References
    ----------
    Each method's paper, for your bibliography: :func:`scruot.solvers.cite`. Peng et al. (2026),
    WFR-FM :cite:p:`peng2026wfrfm` (wfrfm, wfr); Sha et al. (2024), TIGON :cite:p:`sha2024tigon`;
    Zhang et al. (2025), DeepRUOT :cite:p:`zhang2025deepruot`; Sun et al. (2025), Var-RUOT
    :cite:p:`sun2025varruot`; Wang et al. (2025), VGFM :cite:p:`wang2025vgfm`; Zhang et al. (2025),
    CytoBridge :cite:p:`zhang2025cytobridge` (crufm); Eyring et al. (2024), UOT-FM
    :cite:p:`eyring2024uotfm`; Tong et al. (2024), OT-CFM :cite:p:`tong2024otcfm`; Tong et al.
    (2024), [SF]2M :cite:p:`tong2024sf2m`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(random_state=0)
    >>> scruot.tl.fit_dynamics(adata, use_rep="X_genes", steps=20, progress=False)
    >>> adata.obsm["velocity_genes"].shape == adata.obsm["X_genes"].shape
    True
    """
    solver = solvers.get(method)
    params: Any = make_params(solver.params, solver_params, method)
    names = slots(key_added)
    whole("n_models", n_models)
    _check_samples(solver, batch_key, replicate_key, n_models)
    random_state = check_seed(random_state)
    check_writable(adata, copy=copy)
    check_free(adata, names)
    _check_columns(names, time_key, mass)
    if isinstance(holdout, Iterable) and not isinstance(holdout, str):
        holdout = list(holdout)  # an iterator is read twice
    path = _checkpoint_path(checkpoint)
    target = resolve_device(device)
    reading: dict[str, Any] = {
        "time_key": time_key,
        "use_rep": use_rep,
        "n_dims": n_dims,
        "mass": mass,
        "holdout": holdout,
        "holdout_cells": holdout_cells,
        "batch_key": batch_key,
        "replicate_key": replicate_key,
        "random_state": random_state,
    }
    cells = read_cells(adata, **reading)
    labels = cells.replicates()
    fitted = fit_snapshots(
        cells.snapshots(),
        solver,
        params,
        device=target,
        n_models=int(n_models),
        replicates=None if labels is None else Replicates(labels, sizes_given(mass)),
        random_state=random_state,
        checkpoint=path,
        progress=progress,
    )
    assumed = describe_mass(mass, cells.time, cells.mass)
    logger.info("%s: %s; %s", method, assumed, _describe_automatic(params, fitted.resolved))
    call = {**reading, "n_models": n_models}
    basis = basis_name(use_rep)
    record = model_record(fitted, params, call, cells, adata.obs_names)
    obsm, obs = evaluate_at_cells(fitted.dynamics, cells.time, cells.x, names, basis)
    columns: dict[str, Any] = dict(obs)
    if holdout_cells is not None:
        columns[names.holdout] = cells.held_out
    adata = writable(adata, copy=copy)
    write_fit(adata, record, obsm, columns, names)
    return adata if copy else None


def _check_samples(
    solver: Solver, batch_key: str | None, replicate_key: str | None, n_models: int
) -> None:
    """Refuse batches where nothing is coupled, and replicates where nothing is drawn."""
    if batch_key is not None:
        require_coupled(solver, f"batch_key={batch_key!r}")
    if replicate_key is not None and n_models < 2:
        msg = (
            f"Found replicate_key={replicate_key!r} with n_models={n_models}; expected an ensemble "
            "to draw replicates for: give n_models=20, say."
        )
        raise ValueError(msg)


def _check_columns(names: Slots, time_key: str, mass: Mass) -> None:
    """Refuse to read a column that the fit replaces: later steps would read the result."""
    for what, column in (("time_key", time_key), ("mass", mass)):
        if isinstance(column, str) and column in (
            names.growth,
            names.growth_std,
            names.potential,
            names.log_density,
        ):
            msg = (
                f"Found {what}={column!r}, a column that the fit writes; rename it, or give "
                "key_added so that the fit writes others."
            )
            raise ValueError(msg)


def _checkpoint_path(checkpoint: str | PathLike[str] | None) -> Path | None:
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    if path.is_dir() or not path.absolute().parent.is_dir():
        msg = f"Cannot write the checkpoint {path}: expected a file in an existing folder."
        raise ValueError(msg)
    return path


def _describe_automatic(params: Any, resolved: Mapping[str, float | str]) -> str:
    given = asdict(params)
    parts = [
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in resolved.items()
        if given.get(name) == "auto"
    ]
    return f"'auto' became {', '.join(parts)}" if parts else "no parameter was 'auto'"
