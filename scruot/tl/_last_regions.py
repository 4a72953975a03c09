"""Ends of lineages without labels: the dense regions of the last snapshot."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN

from scruot.tl._fate_sources import Coupled

__all__ = ["last_regions"]

_LEAST = 0.05  # share of the last snapshot that is no outlier
_FEWEST = 5  # cells whose density means anything
_SMOOTH = 15  # neighbours by which density is measured, at most


def last_regions(found: Coupled) -> tuple[dict[str, NDArray[np.bool_]], pd.DataFrame]:
    """Return the dense regions of the last snapshot, the largest first, and a table of them.

    Raises
    ------
    ValueError
        When there are no coordinates, too few cells, or no two regions.
    """
    remedy = (
        "Name the ends: states={'name': cells}, or give groupby, a column of cell types or of "
        "clusters of all cells (e.g. by scanpy.tl.leiden)."
    )
    rows = np.flatnonzero(found.used & (found.time == found.times[-1]))
    if not found.x.shape[1]:
        msg = f"The stored couplings do not say in which representation cells lie. {remedy}"
        raise ValueError(msg)
    if len(rows) < 2 * _FEWEST:
        msg = f"Found {len(rows)} cells at the last time; expected {2 * _FEWEST} or more. {remedy}"
        raise ValueError(msg)
    least = max(_FEWEST, int(np.ceil(_LEAST * len(rows))))
    cluster = HDBSCAN(min_cluster_size=least, min_samples=min(least, _SMOOTH), copy=True)
    labels = cluster.fit_predict(found.x[rows].astype(np.float64))
    sizes = np.bincount(labels[labels >= 0])
    if len(sizes) <= 1:
        msg = (
            f"Found no two dense regions among the {len(rows)} cells of the last time, in "
            f"{found.x.shape[1]} dimensions. {remedy}"
        )
        raise ValueError(msg)
    regions, lines = {}, []
    for k, label in enumerate(np.argsort(-sizes, kind="stable")):
        name = f"end {k + 1}"
        regions[name] = np.zeros(len(found.time), dtype=bool)
        regions[name][rows[labels == label]] = True
        reason = f"dense region of the last time: {sizes[label]} cells"
        lines.append((name, True, float(found.times[-1]), np.nan, np.nan, np.nan, reason))
    columns = ["group", "proposed", "last_time", "kept", "received", "speed", "reason"]
    return regions, pd.DataFrame(lines, columns=columns)
