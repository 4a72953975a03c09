"""Deep comparison of AnnData."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData


def contents(adata: AnnData) -> dict[str, Any]:
    """Return everything that an AnnData holds, copied."""
    held = adata.to_memory() if adata.isbacked else adata.copy()
    parts = {"obs": held.obs, "var": held.var, "X": held.X, "uns": dict(held.uns)}
    for name in ("obsm", "varm", "obsp", "varp", "layers"):
        parts[name] = dict(getattr(held, name))
    return parts


def same(a: Any, b: Any) -> bool:
    """Whether two things are equal to the last bit, dtypes and keys included."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, pd.DataFrame) and isinstance(b, pd.DataFrame):
        try:
            pd.testing.assert_frame_equal(a, b, check_exact=True)
        except AssertionError:
            return False
        return True
    if hasattr(a, "toarray") and hasattr(b, "toarray"):
        return type(a) is type(b) and same(a.toarray(), b.toarray())
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def arrays(tree: Any) -> list[np.ndarray]:
    """Return every array of a nested mapping."""
    if isinstance(tree, Mapping):
        return [leaf for value in tree.values() for leaf in arrays(value)]
    return [np.asarray(tree)]
