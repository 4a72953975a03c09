"""Leave one time out, fit, and predict it: methods and parameters against nulls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from tqdm.auto import tqdm

from scruot._checks import check_seed, whole
from scruot._keys import CROSS_VALIDATION, checked_key
from scruot.dynamics.device import resolve_device
from scruot.io.mass import Mass
from scruot.io.read import read_cells
from scruot.io.store import check_writable, writable
from scruot.tl._folds import Fold, read_candidates, read_left_out
from scruot.tl._reading import how_to_read


def cross_validate(
    adata: AnnData,
    methods: str | Sequence[str] = ("wfrfm",),
    *,
    times: float | str | Iterable[float | str] | None = None,
    params: Mapping[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]] | None = None,
    time_key: str | None = None,
    use_rep: str | None = None,
    n_dims: int | None = None,
    mass: Mass = "counts",
    batch_key: str | None = None,
    n_seeds: int = 1,
    n_cells: int = 2000,
    random_state: int = 0,
    key_added: str = CROSS_VALIDATION,
    progress: bool = True,
    device: str = "auto",
    copy: bool = False,
) -> pd.DataFrame | AnnData:
    """Leave each middle time out in turn, fit the others, and score the prediction.

    Every method, set of parameters and seed is fitted on the cells of the other times; all cells
    of the first time are simulated to the one left out and compared with its cells. Static
    transport couples the two neighbouring times, and its pairs move straight from one to the
    other. A method that does not come below the rows ``"null: linear"`` has learned nothing about
    these data that straight lines do not say.

    Parameters
    ----------
    adata
        Cells of at least three times. Only ``obs`` and the representation are read, and no fit
        is written to it.
    methods
        One or several of :func:`scruot.solvers.names`, and ``"transport"`` for
        :func:`scruot.tl.transport`.
    times
        Times to leave out, as numbers or labels, one after the other; by default all but the
        first and the last. The last may be asked for, as an extrapolation, of which
        ``"transport"`` is not capable; the first may not.
    params
        Parameters of a method that differ from the defaults: a mapping from the method's name
        to one mapping of parameters, or to a list of such mappings, each of which is fitted,
        e.g. ``{"wfrfm": [{"delta": 1.0}, {"delta": 3.0}]}`` or ``{"transport": [{"tau": 0.3},
        {"tau": 3.0}, {"method": "wfr"}]}``.
    time_key, use_rep, n_dims
        As in :func:`scruot.tl.fit_dynamics`. Left out they are those of the fit in
        ``uns["dynamics"]``, without one ``"time"``, ``"X_pca"`` and all columns.
    mass
        As in :func:`scruot.tl.fit_dynamics`.
    batch_key
        As there; only for methods that learn from couplings, and for ``"transport"`` but not its
        method ``"fate"``. Predictions are compared with all cells of the time left out, and the
        nulls know no batches.
    n_seeds
        Fits per method, parameters and time, with seeds ``random_state``, ``random_state + 1``,
        ...
    n_cells
        Distances are computed on a random subset of at most this many cells per cloud, the same
        for all methods.
    random_state
        First seed of the fits, and seed of subsets and halves.
    key_added
        Key of ``uns`` to write to.
    progress
        Whether to show a progress bar over the fits.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    copy
        Whether to return a copy of ``adata`` with the table instead of writing to it.

    Returns
    -------
    The table, or with ``copy=True`` the copy. It is written to
    ``adata.uns["cross_validation"]`` and has one row per fit and per null:

    ``method`` : str
        Name of the method, ``"null: linear"``, ``"null: wfr"``, ``"null: previous"``,
        ``"null: next"``, ``"null: pooled"`` (see :func:`scruot.tl.evaluate`), ``"null: random"``
        (as ``"linear"``, but with pairs drawn at random), or ``"noise floor"``: two disjoint
        halves of the cells left out.
    ``parameters`` : str
        The parameters that differ from the defaults, as JSON text.
    ``time`` : float
        The time left out.
    ``seed`` : int
        Seed of the fit; of the subsets for nulls.
    ``w1``, ``w2``, ``mmd``, ``energy`` : float
        Distances to the cells left out (:mod:`scruot.metrics`).
    ``mass_error`` : float
        Relative error of the population; NaN where a null claims none.

    Raises
    ------
    KeyError
        For a missing column or representation.
    TypeError, ValueError
        For an unknown method, parameter or time, or data that cannot be fitted; raised before
        anything is computed.
    RuntimeError
        When a model drives cells away to infinity.

    Notes
    -----
    In many dimensions cells are far from each other, and W1 and W2 are mostly the noise of
    sampling. They also flatter the linear null, whose cells are means of two distant cells and so
    lie nearer to all others, perhaps below the noise floor. Read ``energy`` and ``mmd`` beside
    them: these see the shrunken spread.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`: held-out times beside
    interpolation nulls.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(200, random_state=0)
    >>> table = scruot.tl.cross_validate(
    ...     adata,
    ...     times=2,
    ...     use_rep="X_genes",
    ...     params={"wfrfm": {"steps": 20}},
    ...     progress=False,
    ... )
    >>> table["method"].tolist()[:4]
    ['wfrfm', 'null: linear', 'null: wfr', 'null: previous']
    """
    random_state = check_seed(random_state)
    whole("n_seeds", n_seeds)
    whole("n_cells", n_cells)
    _check_free(adata, key_added)
    check_writable(adata, copy=copy)
    candidates = read_candidates(adata, methods, params)
    target = resolve_device(device)
    source = {
        **how_to_read(adata, time_key=time_key, use_rep=use_rep, n_dims=n_dims),
        "mass": mass,
        "batch_key": batch_key,
    }
    everything = read_cells(adata, **source)
    left_out = read_left_out(times, np.unique(everything.time), everything.labels)
    for candidate in candidates:
        candidate.require(everything, left_out)
    folds = [
        Fold(read_cells(adata, **source, holdout=time), time, n_cells, random_state)
        for time in left_out
    ]
    rows: list[dict[str, Any]] = []
    n_fits = len(folds) * len(candidates) * n_seeds
    with tqdm(total=n_fits, disable=not progress, desc="cross-validate") as bar:
        for fold in folds:
            for candidate in candidates:
                for seed in range(random_state, random_state + n_seeds):
                    rows.append(fold.fitted_row(candidate, seed, target))
                    bar.update()
            rows.extend(fold.null_rows())
    table = pd.DataFrame(rows)
    written = writable(adata, copy=copy)
    written.uns[key_added] = table
    return written if copy else table.copy()


def _check_free(adata: AnnData, key_added: str) -> None:
    """Refuse to replace an entry of ``uns`` that is no table, such as a fit."""
    held = adata.uns.get(checked_key(key_added))
    if held is not None and not isinstance(held, pd.DataFrame):
        msg = (
            f"Found key_added={key_added!r}, an entry of uns that is no table and would be lost; "
            "expected a free name."
        )
        raise ValueError(msg)
