"""Set-up of every test, in the test folder and in docstrings."""

import os

# Set before anything imports torch or numba: several workers share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# numba would give all of OpenMP, and so torch, the number of threads that it is given itself
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import HealthCheck, settings

# A shared machine is slow at random: a deadline would make tests flaky, and random examples would
# make a failure in one run vanish in the next.
settings.register_profile(
    "scruot",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("scruot")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """Leave no figure open for the next test."""
    yield
    plt.close("all")
