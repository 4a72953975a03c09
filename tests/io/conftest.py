"""A small AnnData with three snapshots, and comparisons to the last bit."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

TIMES = (0.0, 1.0, 3.0)
SIZES = (20, 25, 30)


def make_adata(*, d: int = 4, seed: int = 0, prefix: str = "cell") -> AnnData:
    """Return 75 cells that move along the first coordinate."""
    rng = np.random.default_rng(seed)
    time = np.repeat(TIMES, SIZES)
    x = rng.normal(size=(len(time), d))
    x[:, 0] += 2 * time
    adata = AnnData(np.zeros((len(time), 3), dtype=np.float32))
    adata.obs_names = [f"{prefix}{i}" for i in range(len(time))]
    adata.obs["time"] = time
    adata.obs["kind"] = pd.Categorical(rng.choice(["a", "b"], len(time)))
    adata.obsm["X_pca"] = x.astype(np.float32)
    order = rng.permutation(len(time))
    return adata[order].copy()


@pytest.fixture
def adata() -> AnnData:
    """Return cells in no order."""
    return make_adata()


@pytest.fixture
def other() -> AnnData:
    """Return other cells of the same kind."""
    return make_adata(seed=1, prefix="new")
