"""Clouds for the tests of static couplings."""

import os
from pathlib import Path

import pandas as pd
import pytest
import torch

TABLES = {
    "three-gene": ("simulation_gene2d.csv.gz", 2),
    "dyngen": ("dyngen5d.csv.gz", 5),
    "emt": ("emt_a549_ae10.csv.gz", 10),
}


@pytest.fixture(scope="session")
def published():
    """Load the snapshots of a published data set, float64, one tensor per time."""
    folder = os.environ.get("SCRUOT_DATA_DIR")
    if folder is None:
        pytest.skip("set SCRUOT_DATA_DIR to the folder of the published tables to run this")

    def load(name):
        file, dim = TABLES[name]
        table = pd.read_csv(Path(folder) / file)
        columns = [f"x{i + 1}" for i in range(dim)]
        return [torch.tensor(part[columns].to_numpy()) for _, part in table.groupby("time")]

    return load


def drifting_clusters(n, m, dim=10, clusters=10, seed=0):
    """Two clouds of clusters that drift and grow at different rates."""
    rng = torch.Generator().manual_seed(seed)
    centre = 2.0 * torch.randn(clusters, dim, generator=rng, dtype=torch.float64)
    drift = 0.5 * torch.randn(clusters, dim, generator=rng, dtype=torch.float64)
    share = 0.2 + torch.rand(clusters, generator=rng)
    later = share * torch.exp(0.5 * torch.randn(clusters, generator=rng))
    i = torch.multinomial(share, n, replacement=True, generator=rng)
    j = torch.multinomial(later, m, replacement=True, generator=rng)
    noise = torch.randn(n + m, dim, generator=rng, dtype=torch.float64) * 0.5
    return centre[i] + noise[:n], (centre + drift)[j] + noise[n:]


@pytest.fixture
def clouds():
    """Return the maker of drifting clusters."""
    return drifting_clusters


@pytest.fixture
def small():
    """Two weighted clouds of 40 and 55 cells in the plane."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(40, 2, generator=rng, dtype=torch.float64)
    y = torch.randn(55, 2, generator=rng, dtype=torch.float64) + 0.5
    a = 0.5 + torch.rand(40, generator=rng, dtype=torch.float64)
    b = 0.5 + torch.rand(55, generator=rng, dtype=torch.float64)
    return x, y, a, b
