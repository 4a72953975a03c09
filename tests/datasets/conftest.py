"""Fixtures of the data sets' tests: nothing here ever goes to the network."""

import os
from pathlib import Path

import pytest

from scruot.datasets import _fetch


@pytest.fixture(autouse=True)
def _isolated(monkeypatch, tmp_path):
    """Give every test an empty cache, no data folder and no network."""

    def refuse(*_args, **_kwargs):
        raise ConnectionError("no network in tests")

    monkeypatch.setattr(_fetch, "downloader", lambda: refuse)
    monkeypatch.setattr(_fetch.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("SCRUOT_DATA_DIR", raising=False)


@pytest.fixture
def serve(monkeypatch):
    """Serve given bytes for every address instead of downloading; returns the addresses asked."""

    def start(content: dict[str, bytes]) -> list[str]:
        asked: list[str] = []

        def answer(url, output_file, _pooch):
            asked.append(url)
            Path(output_file).write_bytes(content[url.rsplit("/", 1)[1]])

        monkeypatch.setattr(_fetch, "downloader", lambda: answer)
        return asked

    return start


# Read once, before the fixture above hides it from the library.
_DATA_DIR = os.environ.get("SCRUOT_DATA_DIR", "")


@pytest.fixture
def data_dir(monkeypatch) -> Path:
    """Give the test the folder of prepared data, or skip it."""
    if not _DATA_DIR:
        pytest.skip("SCRUOT_DATA_DIR is unset: no real data to read")
    monkeypatch.setenv("SCRUOT_DATA_DIR", _DATA_DIR)
    return Path(_DATA_DIR)
