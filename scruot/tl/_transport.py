"""Static couplings between the snapshots."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scruot._keys import transport_slots
from scruot.dynamics.device import resolve_device
from scruot.io.couplings import check_free_transport, transport_record, write_transport
from scruot.io.mass import Mass, describe_mass
from scruot.io.read import Cells, read_cells
from scruot.io.store import check_writable, writable
from scruot.io.transport import Transport
from scruot.tl._couple import Couplings, couple_snapshots
from scruot.tl._transport_params import TransportParams, check_params

logger = logging.getLogger(__name__)


def transport(
    adata: AnnData,
    method: str = "wfr",
    *,
    time_key: str = "time",
    use_rep: str = "X_pca",
    n_dims: int | None = None,
    mass: Mass = "counts",
    delta: float | str = "auto",
    key_added: str | None = None,
    device: str = "auto",
    random_state: int = 0,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Couple every snapshot with the next by optimal transport: who descends from whom.

    No model is trained. Each interval gets a sparse matrix of masses: ``P[i, j]`` is the mass at
    its end that is cell ``j`` and descends from cell ``i`` of its start.

    Parameters
    ----------
    adata
        Cells of all times; at least two times. Only ``obs`` and the representation are read.
    method
        ``"wfr"``: the Wasserstein-Fisher-Rao geometry, in which mass grows and shrinks on its
        way.
    time_key, use_rep, n_dims, mass
        As in :func:`scruot.tl.fit_dynamics`.
    delta
        With ``"wfr"``: beyond a distance of ``pi * delta``, in the units of the representation,
        cells die and are born rather than move. ``"auto"`` takes it from the distances of
        nearest partners (:func:`scruot.transport.auto_delta`).
    key_added
        Prefix of all slots, so that several transports live side by side; ``"transport"`` by
        default.
    device
        ``"auto"`` (cuda, mps or cpu, in that order), or a device of torch.
    random_state
        Seed of the clusters with which large snapshots are split.
    progress
        Whether to show a progress bar.
    copy
        Whether to return a copy instead of writing to ``adata``.

    Returns
    -------
    ``None``, or the copy. Written:

    ``adata.uns["transport"]`` : dict
        ``"times"`` (K + 1,), ``"cells"`` and ``"mass"`` (names and masses of the cells of each
        time, by its position ``"0"``, ``"1"``, ...), ``"couplings"`` (sparse matrices by the
        position of their start), ``"quality"`` (a DataFrame, below), ``"method"``, ``"params"``,
        ``"resolved"``, ``"versions"``. :func:`scruot.get.transport` reads it.
    ``adata.obs["transport_growth"]`` : float
        Growth of each cell until the next time, per unit of time: the logarithm of its
        descendants' mass over its own mass, over the duration. Minus infinity for a cell without
        descendants, NaN at the last time.

    Raises
    ------
    KeyError
        For a missing column or representation.
    TypeError, ValueError
        For an unknown method, a value out of range, or data that cannot be coupled; raised
        before anything is computed, and nothing is written then.

    See Also
    --------
    scruot.get.transport : the couplings between any two times.

    Notes
    -----
    Columns of the quality table, one row per interval: ``start``, ``end``; ``n_source``,
    ``n_target`` (cells); ``mass_source``, ``mass_target`` (populations); ``moved`` (mass at the
    end that has an ancestor); ``childless`` (share of the mass of the start in cells without
    descendants); ``unexplained`` (share of the mass of the end without an ancestor);
    ``effective_targets`` (exponential of the entropy of a row, mean over the moved mass);
    ``entries`` of the matrix; ``primal`` and ``dual`` value of the problem, their relative
    ``gap``, whether the dual value is ``certified`` as a bound, ``converged``, and the
    ``solver``.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943. Chizat, Peyre, Schmitzer and Vialard (2018),
    Found. Comput. Math. 18, 1-44.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    >>> len(adata.uns["transport"]["couplings"])
    4
    """
    params = TransportParams(method=method, delta=delta)
    check_params(params)
    names = transport_slots(key_added)
    check_writable(adata, copy=copy)
    check_free_transport(adata, names)
    target = resolve_device(device)
    source: dict[str, Any] = {
        "time_key": time_key,
        "use_rep": use_rep,
        "n_dims": n_dims,
        "mass": mass,
    }
    cells = read_cells(adata, **source)
    found = couple_snapshots(
        cells.snapshots().to(target), params, random_state=random_state, progress=progress
    )
    logger.info(
        "%s: %s; %s", method, describe_mass(mass, cells.time, cells.mass), _automatic(found)
    )
    made = _by_name(adata, cells, found, method)
    call = {**source, **vars(params), "random_state": random_state}
    record = transport_record(
        made, method=method, params=call, resolved=found.resolved, ranks=cells.ranks
    )
    written = writable(adata, copy=copy)
    write_transport(written, record, made, names)
    return written if copy else None


def _by_name(adata: AnnData, cells: Cells, found: Couplings, method: str) -> Transport:
    times = np.unique(cells.time[cells.fitted])
    rows = [np.flatnonzero(cells.fitted & (cells.time == t)) for t in times]
    return Transport(
        times=times,
        cells=tuple(adata.obs_names[r] for r in rows),
        mass=tuple(cells.mass[r] for r in rows),
        couplings=tuple(found.matrices),
        quality=pd.DataFrame(found.quality),
        method=method,
    )


def _automatic(found: Couplings) -> str:
    parts = [f"{name} = {value:.4g}" for name, value in found.resolved.items()]
    return f"'auto' became {', '.join(parts)}" if parts else "no parameter was 'auto'"
