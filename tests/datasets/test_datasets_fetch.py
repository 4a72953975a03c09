"""Finding, checking and downloading files."""

import hashlib
import logging

import numpy as np
import pytest

from scruot import datasets
from scruot.datasets import _fetch
from scruot.datasets._files import File
from scruot.datasets._registry import ENTRIES, Entry

TABLE = b"samples,x1,x2\n0,1.5,2\n0,2,3\n1.0,4,5\n"
ADDRESS = "https://host.invalid/"


def entry(*, prepared: bytes | None = None, original: bytes | None = None, url: bool = True):
    """Return an entry with the hashes of given contents."""

    def file(name, content, address):
        return File(name, hashlib.sha256(content).hexdigest(), address)

    return Entry(
        name="emt", kind="real", summary="s", cells="3", times="0, 1", source="the source",
        reference="the paper", licence="none",
        prepared=file("prepared.csv", prepared, None) if prepared else None,
        originals=(file("original.csv", original, ADDRESS + "original.csv" if url else None),)
        if original
        else (),
    )  # fmt: skip


def test_prepared_copy_comes_before_the_original(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRUOT_DATA_DIR", str(tmp_path))
    given = entry(prepared=b"prepared", original=b"original")
    (tmp_path / "original.csv").write_bytes(b"original")
    assert _fetch.locate(given).name == "original.csv"
    (tmp_path / "prepared.csv").write_bytes(b"prepared")
    assert _fetch.locate(given).name == "prepared.csv"


def test_download_is_kept_and_not_repeated(serve, tmp_path):
    asked = serve({"original.csv": b"original"})
    given = entry(original=b"original")
    first = _fetch.locate(given)
    assert first.parent == tmp_path / "cache" / "scruot"
    assert first.read_bytes() == b"original"
    assert _fetch.locate(given) == first
    assert asked == [ADDRESS + "original.csv"]
    assert [path.name for path in first.parent.iterdir()] == ["original.csv"]


def test_download_goes_to_a_data_folder_that_can_be_written(serve, monkeypatch, tmp_path):
    serve({"original.csv": b"original"})
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("SCRUOT_DATA_DIR", str(folder))
    assert _fetch.locate(entry(original=b"original")).parent == folder
    monkeypatch.setattr(_fetch.os, "access", lambda *_: False)
    assert _fetch.cache_dir() == tmp_path / "cache" / "scruot"


def test_wrong_download_is_refused_and_not_kept(serve, tmp_path):
    serve({"original.csv": b"something else"})
    with pytest.raises(ValueError, match=r"a download from https.*but expected [0-9a-f]{64}"):
        _fetch.locate(entry(original=b"original"))
    assert list((tmp_path / "cache" / "scruot").iterdir()) == []


@pytest.mark.parametrize("name", ["prepared.csv", "original.csv"])
def test_tampered_file_is_refused_and_left_alone(name, monkeypatch, tmp_path):
    monkeypatch.setenv("SCRUOT_DATA_DIR", str(tmp_path))
    path = tmp_path / name
    path.write_bytes(b"tampered")
    found = hashlib.sha256(b"tampered").hexdigest()
    with pytest.raises(ValueError, match=rf"Found .*{name} with sha256 {found}.*Delete the file"):
        _fetch.locate(entry(prepared=b"prepared", original=b"original"))
    assert path.read_bytes() == b"tampered"


def test_reported_hash_is_said_to_be_reported(serve):
    serve({"eb_velocity_v5.npz": b"something else"})
    with pytest.raises(ValueError, match="as reported by third-party code"):
        datasets.embryoid_body()


def test_unknown_hash_is_logged(serve, caplog):
    serve({"emt.csv": TABLE})
    with caplog.at_level(logging.WARNING, "scruot.datasets"):
        adata = datasets.emt()
    assert hashlib.sha256(TABLE).hexdigest() in caplog.text
    assert adata.uns["dataset"]["file"] == "emt.csv"


@pytest.mark.parametrize(
    "name", [name for name, found in ENTRIES.items() if any(f.url for f in found.originals)]
)
def test_no_network_is_one_clear_error(name):
    with pytest.raises(ConnectionError, match=r"Could not download https.*SCRUOT_DATA_DIR") as hit:
        getattr(datasets, name)()
    assert hit.value.__cause__ is None
    assert hit.value.__context__ is None


OFFLINE = [
    name
    for name, found in ENTRIES.items()
    if found.source != "generated" and all(file.url is None for file in found.originals)
]


@pytest.mark.parametrize("name", OFFLINE)
def test_without_an_address_the_source_is_named(name):
    with pytest.raises(FileNotFoundError) as hit:
        getattr(datasets, name)()
    said = str(hit.value)
    assert ENTRIES[name].source in said
    assert ENTRIES[name].prepared.name in said
    assert "SCRUOT_DATA_DIR" in said


def test_path_is_read_unchecked_and_must_exist(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(TABLE)
    adata = datasets.dyngen(path=path)
    np.testing.assert_array_equal(adata.obs["time"], [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(adata.obsm["X_latent"], [[1.5, 2], [2, 3], [4, 5]])
    with pytest.raises(FileNotFoundError, match="expected a file that exists"):
        datasets.dyngen(path=tmp_path / "other.csv")
    with pytest.raises(FileNotFoundError, match="expected a folder that exists"):
        datasets.hematopoiesis(path=path)


def test_data_folder_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRUOT_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="which is not a folder"):
        datasets.emt()


def test_every_name_is_a_function_and_described():
    table = datasets.describe()
    assert list(table["name"]) == datasets.names()
    assert set(datasets.names()) == set(datasets.__all__) - {"names", "describe"}
    assert set(table["kind"]) == {"simulated", "real"}
    texts = table.drop(columns="download")
    assert (texts.map(lambda text: isinstance(text, str) and len(text) > 0)).all(axis=None)
    hashes = [e.prepared.sha256 for e in ENTRIES.values() if e.prepared]
    assert len(set(hashes)) == len(hashes)
    assert all(len(found) == 64 for found in hashes)
