"""Static couplings between the snapshots."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scruot._checks import check_seed
from scruot._keys import TransportSlots, transport_slots
from scruot.dynamics.device import resolve_device
from scruot.io.couplings import check_free_transport, transport_record, write_transport
from scruot.io.mass import Mass, describe_mass
from scruot.io.read import Cells, read_cells
from scruot.io.store import check_writable, writable
from scruot.io.transport import Transport
from scruot.tl._couple import Couplings, couple_snapshots
from scruot.tl._groups import last_states
from scruot.tl._reading import how_to_read
from scruot.tl._transport_params import TransportParams, check_batches, make_params
from scruot.tl._transport_prior import read_rates

logger = logging.getLogger(__name__)


def transport(
    adata: AnnData,
    method: str = "unbalanced",
    *,
    time_key: str | None = None,
    use_rep: str | None = None,
    n_dims: int | None = None,
    mass: Mass = "counts",
    penalty: str = "kl",
    tau: float | tuple[float, float] | str = "auto",
    reg: float | str = "auto",
    relaxed: str = "source",
    moved: float | None = None,
    delta: float | str = "auto",
    growth: str | None = None,
    growth_iterations: int | None = None,
    solver: str = "auto",
    kept_mass: float = 0.999,
    groupby: str | None = None,
    batch_key: str | None = None,
    key_added: str | None = None,
    device: str = "auto",
    random_state: int = 0,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    r"""Couple every snapshot with the next by optimal transport: who descends from whom.

    No model is trained. Each interval gets a sparse matrix of masses: ``P[i, j]`` is the mass at
    its end that is cell ``j`` and descends from cell ``i`` of its start. The cost of a pair is the
    squared distance, in units of ``cost_scale``: the mean squared distance between cells of
    consecutive snapshots, one number for all intervals.

    Before a method departs from it, every cell is expected to grow like the whole population, or
    as ``growth`` says, so that both ends of an interval have the same total mass.

    Parameters
    ----------
    adata
        Cells of all times; at least two times. Only ``obs`` and the representation are read.
    method
        ``"unbalanced"``: masses of rows and columns may depart from what is expected and observed,
        at a price; with ``growth`` this is Waddington-OT. ``"balanced"``: they may not.
        ``"semi_relaxed"``: one side may. ``"partial"``: a fixed share of the mass moves, and the
        rest of both ends stays unmatched. ``"wfr"``: the Wasserstein-Fisher-Rao geometry, in which
        mass grows and shrinks on its way; it takes populations as they are and knows neither
        prior nor entropy. ``"fate"``: unbalanced, with metric, noise and growth by the rule that
        :func:`scruot.tl.fate_probabilities` uses; see the guide on fates.
    time_key, use_rep, n_dims
        As in :func:`scruot.tl.fit_dynamics`. Left out they are those of the fit in
        ``uns["dynamics"]``, without one ``"time"``, ``"X_pca"`` and all columns.
    mass
        As in :func:`scruot.tl.fit_dynamics`.
    penalty
        How departures are priced: ``"kl"``, ``"l2"``, ``"tv"`` or ``"chi2"``
        (:class:`scruot.transport.Penalty`). With ``"kl"`` no row is ever exactly zero; with
        ``"tv"`` whatever costs more than the price of leaving both ends does not move at all.
    tau
        Price of a unit of mass that departs, in units of the scaled cost: a number for both sides,
        or for ``"unbalanced"`` a pair (source, target); infinite for a side that is exact.
        ``"auto"``: the price under which moving competes with growth as with ``"wfr"`` and its
        automatic ``delta``, ``4 delta^2``, on the source; the target is exact.
    reg
        Entropic regularisation in units of the scaled cost; 0 for the optimal plan itself. Larger
        values blur: see ``effective_targets``. ``"auto"``: 0.05 over an interval of median
        length, in proportion to the length of others: one noise for all times; 0 for ``"partial"``.
    relaxed
        With ``"semi_relaxed"``: the side that may depart, ``"source"`` or ``"target"``.
    moved
        With ``"partial"``: the share of the mass that moves, at most 1.
    delta
        With ``"wfr"``: beyond a distance of ``pi * delta``, in the units of the representation,
        cells die and are born rather than move. ``"auto"`` takes it from the distances of
        nearest partners (:func:`scruot.transport.auto_delta`).
    growth
        Column of ``obs`` with expected growth rates, birth minus death per unit of time, e.g.
        ``"growth_prior"``. A cell of mass ``m`` is expected to have descendants of mass
        proportional to ``m * exp(rate * duration)``. Only differences between rates matter:
        populations come from ``mass``.
    growth_iterations
        How often an interval is solved, each time with the last row masses as the expectation. By
        default 3 with ``growth`` where rows may depart, 10 with ``"fate"``, otherwise 1.
    solver
        ``"exact"`` regards all pairs of cells, ``"hierarchical"`` only candidates found through
        clusters; ``"auto"`` chooses by size.
    kept_mass
        With ``reg`` every pair of cells has some mass: the largest entries that hold this share of
        each row or column are stored, scaled to the masses of the whole. Lower it where couplings
        take too much memory.
    groupby
        With ``"fate"``: column of groups, of which those present at the last time are taken for
        terminal states; what varies within them is noise. Without it the narrowest snapshot is
        taken for one state.
    batch_key
        Column of ``obs`` with batches: cells are coupled within their batch alone, as in
        :func:`scruot.tl.fit_dynamics`. Each batch is taken to grow as the whole does: in every
        interval it has the mean of its shares of the two populations, and growth is counted from
        these masses. Not with ``"fate"``.
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
        ``"resolved"``, ``"versions"``, with batches ``"source"`` (masses at the start of each
        interval as they share them). :func:`scruot.get.transport` reads it.
    ``adata.obs["transport_growth"]`` : float
        Growth of each cell until the next time, per unit of time: the logarithm of its
        descendants' mass over its own mass before any prior, over the duration. Minus infinity for
        a cell without descendants, NaN at the last time.

    Raises
    ------
    KeyError
        For a missing column or representation.
    TypeError, ValueError
        For an unknown method or word, a value out of range, a parameter that the method does not
        use, or data that cannot be coupled; raised before anything is computed, and nothing is
        written then.

    See Also
    --------
    scruot.tl.descendants, scruot.tl.ancestors : follow any set of cells.
    scruot.tl.transition_table : groups of cells.
    scruot.tl.cross_validate : choose parameters by left-out times.
    scruot.get.transport : the couplings between any two times.

    Notes
    -----
    Columns of the quality table, one row per interval: ``start``, ``end``; ``n_source``,
    ``n_target`` (cells); ``mass_source``, ``mass_target`` (populations); ``moved`` (mass at the
    end that has an ancestor); ``childless`` (share of the mass of the start in cells without
    descendants); ``unexplained`` (share of the mass of the end without an ancestor);
    ``effective_targets`` (exponential of the entropy of a row, mean over the moved mass);
    ``entries`` of the matrix; ``residual`` (root mean square, over the cells, of the logarithm of
    row masses over expected ones in the last iteration: how far the plan departs from the prior);
    ``primal`` and ``dual`` value of the problem without entropy, their relative ``gap`` (with
    ``reg`` it is what the blur costs), whether the dual value is ``certified`` as a bound,
    ``converged``, and the ``solver``.

    With ``"wfr"`` the stored matrix is the second semi-coupling: the mass that arrives with each
    pair, not the plan between both ends.

    References
    ----------
    Schiebinger et al. (2019), Cell 176, 928-943 :cite:p:`schiebinger2019`. Chizat, Peyre, Schmitzer
    and Vialard (2018), Math. Comp. 87 :cite:p:`chizat2018scaling`, and Found. Comput. Math. 18,
    1-44 :cite:p:`chizat2018interpolating`.

    Examples
    --------
    >>> import scruot
    >>> adata = scruot.datasets.three_gene(50, random_state=0)
    >>> scruot.tl.transport(adata, use_rep="X_genes", progress=False)
    >>> len(adata.uns["transport"]["couplings"])
    4
    """
    given: dict[str, Any] = {
        "method": method,
        "penalty": penalty,
        "tau": tau,
        "reg": reg,
        "relaxed": relaxed,
        "moved": moved,
        "delta": delta,
        "growth": growth,
        "growth_iterations": growth_iterations,
        "solver": solver,
        "kept_mass": kept_mass,
        "groupby": groupby,
    }
    params = make_params(given)
    check_batches(method, batch_key)
    random_state = check_seed(random_state)
    names = transport_slots(key_added)
    check_writable(adata, copy=copy)
    check_free_transport(adata, names)
    source = {
        **how_to_read(adata, time_key=time_key, use_rep=use_rep, n_dims=n_dims),
        "mass": mass,
        "batch_key": batch_key,
    }
    _check_columns(names, time_key=source["time_key"], mass=mass, growth=growth)
    target = resolve_device(device)
    cells = read_cells(adata, **source)
    rates = None if growth is None else read_rates(adata, growth, cells)
    states = None if groupby is None else last_states(adata, groupby, cells)
    found = couple_snapshots(
        cells.snapshots().to(target),
        params,
        rates=rates,
        states=states,
        random_state=random_state,
        progress=progress,
    )
    logger.info(
        "%s: %s; %s", method, describe_mass(mass, cells.time, cells.mass), _automatic(found, params)
    )
    made = _by_name(adata, cells, found, method)
    record = transport_record(
        made,
        method=method,
        params={**source, **given, "random_state": random_state},
        resolved=found.resolved,
        ranks=cells.ranks,
    )
    written = writable(adata, copy=copy)
    write_transport(written, record, made, names)
    return written if copy else None


def _check_columns(slots: TransportSlots, **columns: Any) -> None:
    """Refuse to read a column that is replaced: a later call would read the result."""
    for what, column in columns.items():
        if isinstance(column, str) and column == slots.growth:
            msg = (
                f"Found {what}={column!r}, a column that this writes; rename it, or give key_added "
                "so that others are written."
            )
            raise ValueError(msg)


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
        source=found.sources,
    )


def _automatic(found: Couplings, params: TransportParams) -> str:
    """Say what became of parameters that were left to a rule."""
    was = {
        "delta": params.delta,
        "tau_source": params.tau,
        "tau_target": params.tau,
        "reg": params.reg,
    }
    parts = []
    for name, value in found.resolved.items():
        if isinstance(was.get(name), str):
            values = value if isinstance(value, list) else [value]
            parts.append(f"{name} = {', '.join(f'{v:.4g}' for v in dict.fromkeys(values))}")
    scale = found.resolved.get("cost_scale")
    unit = "" if scale is None else f" (unit of cost: {scale:.4g}, a squared distance)"
    return f"'auto' became {'; '.join(parts)}{unit}" if parts else f"no parameter was 'auto'{unit}"
