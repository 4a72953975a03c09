"""Which column and representation are read: as given, else as a stored result has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from anndata import AnnData

from scruot._keys import DYNAMICS, PCA_REPRESENTATION

_DEFAULTS = {"time_key": "time", "use_rep": PCA_REPRESENTATION, "n_dims": None}

logger = logging.getLogger(__name__)


def how_to_read(
    adata: AnnData, *, entries: Sequence[str] = (DYNAMICS,), **asked: str | int | None
) -> dict[str, Any]:
    """Return those of ``time_key``, ``use_rep`` and ``n_dims`` that are asked for.

    Each is as given. What is ``None`` is that of the first of ``entries``, fits or transports in
    ``uns``, that is there; and by default ``"time"``, ``"X_pca"`` and all columns.
    """
    found: dict[str, Any] = {k: _DEFAULTS[k] if v is None else v for k, v in asked.items()}
    for entry in entries:
        stored = _stored(adata.uns.get(entry))
        if not stored:
            continue
        if asked.get("use_rep") is not None:
            stored.pop("n_dims", None)  # of another representation
        taken = {k: v for k, v in stored.items() if k in asked and asked[k] is None}
        if taken:
            said = ", ".join(f"{k} = {v!r}" for k, v in taken.items())
            logger.info("as in uns[%r]: %s", entry, said)
        return found | taken
    return found


def _stored(record: Any) -> dict[str, Any]:
    """Return how a fit or a transport has read the cells; nothing for anything else."""
    if not isinstance(record, Mapping) or not isinstance(record.get("params"), Mapping):
        return {}
    fitted = record.get("representation")
    # a fit tells which columns it used, a transport what it was given, as text
    source = {**record["params"], **(fitted if isinstance(fitted, Mapping) else {})}
    found: dict[str, Any] = {k: str(source[k]) for k in ("time_key", "use_rep") if k in source}
    n_dims = str(source.get("n_dims", "null"))
    return found if n_dims == "null" else {**found, "n_dims": int(n_dims)}
