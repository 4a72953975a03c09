"""User errors: one line, exit code 1, before anything is computed."""

import os
import subprocess
import sys

import h5py
import pytest

import scruot
from scruot.cli._group import one_line

REP = ("--use-rep", "X_genes")


@pytest.fixture(autouse=True)
def _no_fit(monkeypatch):
    """No error here may come after a fit."""

    def refuse(*_args, **_kwargs):
        pytest.fail("a fit was started")

    monkeypatch.setattr("scruot.tl._fit_dynamics.fit_snapshots", refuse)


def the_error(result):
    assert result.code == 1
    assert result.out == ""
    assert result.err.endswith("\n")
    last = result.err.splitlines()[-1]
    assert last.startswith("scruot: error: ")
    assert "Traceback" not in result.err
    return last.removeprefix("scruot: error: ")


def test_unknown_parameter_suggests_the_right_one(scr, cells, tmp_path):
    result = scr("fit", cells, "-o", tmp_path / "out.h5ad", *REP, "--set", "delt=1")
    assert len(result.err.splitlines()) == 1
    assert the_error(result).startswith(
        "Unknown parameter of 'wfrfm' 'delt'. Did you mean 'delta'?"
    )


def test_options_cannot_be_set_as_parameters(scr, cells, tmp_path):
    result = scr("fit", cells, "-o", tmp_path / "out.h5ad", *REP, "--set", "time_key=day")
    assert the_error(result).startswith("Unknown parameter of 'wfrfm' 'time_key'.")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--method", "wfrfn"), "Unknown method 'wfrfn'. Did you mean 'wfrfm'?"),
        (("--set", "steps=many"), "wfrfm: found steps='many'"),
        (("--set", "delta=-1"), "wfrfm: found delta=-1"),
        (("--time-key", "dey"), "No time column 'dey' in obs"),
        (("--use-rep", "X_gene"), "No representation 'X_gene' in obsm"),
        (("--mass", "wieght"), "Unknown mass 'wieght'."),
        (("--holdout", "7"), "Cannot hold out time 7.0"),
        (("--holdout-cells", "2"), "Found holdout_cells=2"),
        (("--n-models", "0"), "Found n_models=0"),
        (("--device", "cudo"), "cudo"),
        (("--key-added", "a/b"), "Found the key 'a/b'"),
        (("--checkpoint", "nowhere/fit.npz"), "Cannot write the checkpoint nowhere/fit.npz"),
    ],
    ids=lambda value: value[0].lstrip("-") if isinstance(value, tuple) else "",
)
def test_wrong_argument_is_one_line_and_writes_nothing(scr, cells, tmp_path, arguments, found):
    out = tmp_path / "out.h5ad"
    error = the_error(scr("fit", cells, "-o", out, *REP, *arguments, "-q"))
    assert found in error
    # a KeyError shows its message, not the repr of it
    assert not error.startswith(("'", '"'))
    assert not out.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_input_is_said_to_be_so(scr, cells, tmp_path, share):
    content = cells.read_bytes()
    cells.write_bytes(content[: int(share * len(content))])
    error = the_error(scr("fit", cells, "-o", tmp_path / "out.h5ad", *REP))
    assert error.startswith(f"Cannot read {cells} as h5ad")


def test_damage_inside_the_file_is_said_to_be_so(scr, cells, tmp_path):
    with h5py.File(cells) as file:
        dataset = file["obsm/X_genes"]
        chunk = dataset.id.get_chunk_info(0)
    with cells.open("rb+") as handle:
        handle.seek(chunk.byte_offset)
        handle.write(b"\xff" * chunk.size)
    error = the_error(scr("fit", cells, "-o", tmp_path / "out.h5ad", *REP))
    assert error.startswith(f"Cannot read {cells}")
    assert "damaged" in error


def test_input_that_is_no_h5ad_file(scr, cells, tmp_path):
    out = tmp_path / "out.h5ad"
    assert "does not exist" in the_error(scr("fit", tmp_path / "no.h5ad", "-o", out))
    assert "is a folder" in the_error(scr("fit", tmp_path, "-o", out))
    text = tmp_path / "text.h5ad"
    text.write_text("a text " * 200)
    assert f"Cannot read {text} as h5ad" in the_error(scr("fit", text, "-o", out))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = [1.0]
    assert "it has no obs" in the_error(scr("fit", tmp_path / "other.h5", "-o", out))


def test_unwritable_output_is_refused_before_the_fit(scr, cells, tmp_path):
    folder = tmp_path / "a_file"
    folder.write_text("")
    for out, found in (
        (folder / "out.h5ad", "is a file and no folder"),
        (tmp_path / "nowhere" / "out.h5ad", "does not exist"),
        (tmp_path, "it is a folder"),
    ):
        assert found in the_error(scr("fit", cells, "-o", out, *REP))
    assert the_error(scr("demo", "-o", folder)).startswith(f"Cannot write into {folder}")
    assert "a_file" in the_error(scr("demo", "-o", folder / "below"))
    assert folder.read_text() == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_read_only_folder_is_refused_before_the_fit(scr, cells, tmp_path):
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o500)
    assert "Permission denied" in the_error(scr("fit", cells, "-o", folder / "out.h5ad", *REP))


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "in.h5ad"),
        ("fit", "in.h5ad", "-o", "out.h5ad", "--set", "steps"),
        ("fit", "in.h5ad", "-o", "out.h5ad", "--mass", "{0: 1}"),
        ("fit", "in.h5ad", "-o", "out.h5ad", "--n-dims", "two"),
        ("simulate", "in.h5ad", "-o", "out.h5ad", "--direction", "sideways"),
        ("plot", "in.h5ad", "-o", "out", "--format", "docx"),
        ("fitt",),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(scr, arguments):
    result = scr(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err


@pytest.mark.parametrize("command", ["evaluate", "simulate", "plot"])
def test_a_file_without_a_fit_says_what_to_do(scr, cells, tmp_path, command):
    output = () if command == "evaluate" else ("-o", tmp_path / "out")
    error = the_error(scr(command, cells, *output))
    assert error.startswith("No fitted dynamics in uns['dynamics'] (found no fit at all).")
    assert not (tmp_path / "out").exists()


def test_unknown_method_is_suggested(scr):
    assert "Did you mean 'wfrfm'?" in the_error(scr("methods", "wfrmf"))


@pytest.mark.parametrize("place", [0, 1, 4])
def test_debug_shows_where_the_error_comes_from(cells, tmp_path, place, monkeypatch):
    arguments = ["fit", str(cells), "-o", str(tmp_path / "out.h5ad")]
    arguments.insert(place, "--debug")
    with pytest.raises(KeyError, match="No representation 'X_pca'"):
        scruot.cli.app(arguments)


def test_messages_become_one_line():
    assert one_line(KeyError("No column 'a'.\n  Found:\tb")) == "No column 'a'. Found: b"
    assert one_line(KeyError("a")) == "KeyError: a"
    assert one_line(MemoryError()) == "MemoryError"
    assert one_line(FileNotFoundError(2, "No such file", "x.h5ad")) == "x.h5ad: No such file"


def test_module_runs_like_the_command():
    """In a process of its own: nothing else shows that both entry points are there."""
    found = subprocess.run(
        [sys.executable, "-m", "scruot", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"scruot {scruot.__version__}\n"


def test_a_picture_is_no_folder(scr, fitted, tmp_path):
    out = tmp_path / "streams.png"
    result = scr("plot", fitted, "-o", out)
    assert result.code == 1
    assert "expected a folder" in result.err
    assert not out.exists()
