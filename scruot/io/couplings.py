"""Static couplings in AnnData: plain sparse matrices and names in ``uns``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from scruot._keys import TransportSlots, transport_slots
from scruot._messages import did_you_mean
from scruot.io.store import plain
from scruot.io.time import label_times
from scruot.io.transport import Transport

_PACKAGES = ("scruot", "torch", "numpy", "scipy", "anndata")
_PARTS = ("method", "params", "times", "cells", "mass", "couplings", "quality")


def transport_record(
    transport: Transport,
    *,
    method: str,
    params: Mapping[str, Any],
    resolved: Mapping[str, Any],
    ranks: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return the ``uns`` entry of a transport: nothing in it that h5ad could not hold.

    Parameters
    ----------
    transport
        The couplings.
    method
        How they were found.
    params
        Parameters as they were given.
    resolved
        What became of those that were ``"auto"``.
    ranks
        Times of ordered labels without numbers.
    """
    labels = {} if ranks is None else {"time_labels": json.dumps(dict(ranks))}
    source = {str(k): m for k, m in enumerate(transport.source)}
    source_part = {"source": source} if source else {}
    return {
        "method": method,
        "params": {k: plain(v) for k, v in params.items()},
        "resolved": {k: plain(v) for k, v in resolved.items()},
        "versions": {package: version(package) for package in _PACKAGES},
        "times": transport.times,
        "cells": {str(k): np.asarray(c, dtype=object) for k, c in enumerate(transport.cells)},
        "mass": {str(k): m for k, m in enumerate(transport.mass)},
        "couplings": {str(k): p for k, p in enumerate(transport.couplings)},
        "quality": transport.quality,
        **source_part,
        **labels,
    }


def read_transport(adata: AnnData, key: str | None = None) -> Transport:
    """Return the couplings that ``adata`` holds, checked.

    Raises
    ------
    KeyError
        When there is no such entry.
    ValueError
        When the entry is damaged, or its cells are none of those of ``adata``.
    """
    name = transport_slots(key).uns
    if name not in adata.uns:
        held = [k for k, v in adata.uns.items() if isinstance(v, Mapping) and "couplings" in v]
        found = f"found transports {held}" if held else "found no transport at all"
        msg = (
            f"No transport in uns[{name!r}] ({found}).{did_you_mean(name, held)} Call "
            "scruot.tl.transport(adata) first, or give its key_added as key."
        )
        raise KeyError(msg)
    record = adata.uns[name]
    missing = [k for k in _PARTS if not isinstance(record, Mapping) or k not in record]
    if missing:
        msg = (
            f"uns[{name!r}] is no complete transport of scruot (missing: {missing}); run "
            "scruot.tl.transport again."
        )
        raise ValueError(msg)
    times = np.asarray(record["times"], dtype=np.float64)
    cells = _ordered(record["cells"], len(times))
    mass = _ordered(record["mass"], len(times))
    couplings = _ordered(record["couplings"], len(times) - 1)
    source = _ordered(record["source"], len(times) - 1) if "source" in record else []
    if (
        cells is None
        or mass is None
        or couplings is None
        or source is None
        or not _fit(cells, mass, couplings, source)
    ):
        msg = f"uns[{name!r}] is damaged: its parts differ in size; run scruot.tl.transport again."
        raise ValueError(msg)
    transport = Transport(
        times=times,
        cells=tuple(pd.Index(np.asarray(c, dtype=object)) for c in cells),
        mass=tuple(np.asarray(m, dtype=np.float64) for m in mass),
        couplings=tuple(csr_matrix(p) for p in couplings),
        quality=record["quality"],
        method=str(record["method"]),
        labels=_labels(adata, record["params"], times, cells),
        source=tuple(np.asarray(m, dtype=np.float64) for m in source),
    )
    if not any(c.isin(adata.obs_names).any() for c in transport.cells):
        msg = (
            f"uns[{name!r}] knows none of the cells of adata (its first: {cells[0][0]!r}, found "
            f"{adata.obs_names[0]!r}): they were renamed, or it belongs to other data. Restore the "
            "names or run scruot.tl.transport again."
        )
        raise ValueError(msg)
    return transport


def require_all_cells(adata: AnnData, transport: Transport, times: Sequence[int], why: str) -> None:
    """Refuse an object that lacks cells of the transport.

    Raises
    ------
    ValueError
        For such an object.
    """
    for k in times:
        here = transport.cells[k].isin(adata.obs_names)
        if not here.all():
            msg = (
                f"adata lacks {int((~here).sum())} of the {len(here)} cells that the transport has "
                f"at time {transport.times[k]:g} (first: {transport.cells[k][~here][0]!r}), and "
                f"{why}. Use the object that the transport was computed on, or run "
                "scruot.tl.transport again on these cells."
            )
            raise ValueError(msg)


def check_free_transport(adata: AnnData, slots: TransportSlots) -> None:
    """Refuse to replace an entry of ``uns`` that is no transport.

    Raises
    ------
    ValueError
        For such an entry.
    """
    held = adata.uns.get(slots.uns)
    if held is not None and not (isinstance(held, Mapping) and "couplings" in held):
        msg = (
            f"Found uns[{slots.uns!r}], which is no transport of scruot and would be lost; "
            "expected a free name: give another key_added, or delete the entry."
        )
        raise ValueError(msg)


def write_transport(
    adata: AnnData, record: Mapping[str, Any], transport: Transport, slots: TransportSlots
) -> None:
    """Write couplings and growth, and drop what was derived from earlier ones under this key."""
    growth = pd.Series(np.nan, index=adata.obs_names)
    for k in range(len(transport.couplings)):
        growth.loc[transport.cells[k]] = transport.growth(k).to_numpy()
    adata.obs[slots.growth] = growth.to_numpy()
    replaced = slots.uns in adata.uns
    adata.uns[slots.uns] = dict(record)
    if not replaced:  # columns of these names are the user's own
        return
    for name in (slots.transition_table, slots.ancestor_census):
        adata.uns.pop(name, None)
    for name in (slots.descendants, slots.ancestors):
        if name in adata.obs:
            del adata.obs[name]


def _labels(
    adata: AnnData, params: Mapping[str, Any], times: NDArray[np.float64], cells: list[Any]
) -> dict[str, float]:
    """Return the user's labels of the times, of which ``adata`` has cells."""
    column = adata.obs.get(params.get("time_key"))
    if column is None or pd.api.types.is_numeric_dtype(column.dtype):
        return {}
    rows = [adata.obs_names.get_indexer(pd.Index(np.asarray(c, dtype=object))) for c in cells]
    first = [(r[r >= 0][0], t) for r, t in zip(rows, times, strict=True) if (r >= 0).any()]
    return label_times(column.iloc[[r for r, _ in first]], [t for _, t in first])


def _ordered(parts: Any, n: int) -> list[Any] | None:
    """Return parts ``"0"``, ``"1"``, ... in order, ``None`` if they are others."""
    if not isinstance(parts, Mapping) or set(parts) != {str(k) for k in range(n)}:
        return None
    return [parts[str(k)] for k in range(n)]


def _fit(
    cells: list[Any], mass: list[NDArray[Any]], couplings: list[Any], source: list[NDArray[Any]]
) -> bool:
    sizes = [len(c) for c in cells]
    shapes = list(pairwise(sizes))
    matrices = all(issparse(p) for p in couplings)
    begins = [len(m) for m in source] in ([], sizes[:-1])
    masses = begins and [len(m) for m in mass] == sizes
    return matrices and masses and [p.shape for p in couplings] == shapes
