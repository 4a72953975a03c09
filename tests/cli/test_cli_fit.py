"""``scruot fit``: the library's numbers, nothing else changed, nothing half done."""

import os
import shutil
import signal

import anndata
import h5py
import numpy as np
import pytest

import scruot
from scruot.dynamics import train as training

FAST = ("--use-rep", "X_genes", "--device", "cpu", "--set", "steps=20", "--set", "width=16")
NEW = {"obs/growth", "obsm/velocity_genes", "uns/dynamics"}


def stored(path):
    """Return content, type, compression and attributes of every object in a file."""
    found = {}

    def visit(name, item):
        attributes = {k: np.asarray(v).tolist() for k, v in item.attrs.items()}
        content = None
        if isinstance(item, h5py.Dataset):
            value = np.asarray(item[()])
            content = (str(item.dtype), item.compression, value.shape, value.tolist())
        found[name] = (content, attributes)

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def assert_kept(before, after):
    """Everything is as it was, but for the slots of the fit and the list of columns."""
    kept = {k: v for k, v in after.items() if "/".join(k.split("/")[:2]) not in NEW}
    assert {k: v for k, v in kept.items() if k != "obs"} == {
        k: v for k, v in before.items() if k != "obs"
    }
    old, new = before["obs"][1], after["obs"][1]
    assert new == old | {"column-order": [*old["column-order"], "growth"]}


def test_fit_writes_what_the_library_writes_and_keeps_all_else(scr, cells, small, tmp_path):
    out = tmp_path / "out.h5ad"
    before = stored(cells)
    result = scr("fit", cells, "-o", out, *FAST, "--set", "delta=1.5", "--random-state", 3)
    assert result.code == 0, result.err
    assert result.out == ""
    assert stored(cells) == before
    assert_kept(before, stored(out))
    scruot.tl.fit_dynamics(
        small,
        use_rep="X_genes",
        device="cpu",
        steps=20,
        width=16,
        delta=1.5,
        random_state=3,
        progress=False,
    )
    written = anndata.read_h5ad(out)
    np.testing.assert_array_equal(written.obsm["velocity_genes"], small.obsm["velocity_genes"])
    np.testing.assert_array_equal(written.obs["growth"], small.obs["growth"])
    assert written.uns["dynamics"]["params"]["delta"] == 1.5
    model = scruot.get.dynamics(written)
    x = small.obsm["X_genes"]
    np.testing.assert_allclose(model.growth(0.7, x), scruot.get.dynamics(small).growth(0.7, x))


def test_a_parameter_may_be_a_sequence(scr, cells, tmp_path):
    out = tmp_path / "out.h5ad"
    short = ("--set", "rollout_steps=0", "--set", "score_steps=1")
    call = ("fit", cells, "-o", out, *FAST, *short, "--method", "varruot", "--set")
    assert scr(*call, "sigma=[0.1, 0.2]").code == 0
    model = scruot.get.dynamics(anndata.read_h5ad(out))
    np.testing.assert_allclose(model.sigma, [0.1, 0.2])
    assert "sigma=(0.1,) of 1 values" in scr(*call, "sigma=[0.1]").err
    assert "found sigma='[\"a\"]'" in scr(*call, 'sigma=["a"]').err


def test_fit_in_place_twice_keeps_all_else_and_does_not_grow(scr, cells):
    before, sizes = stored(cells), [cells.stat().st_size]
    assert scr("fit", cells, "-o", cells, *FAST).code == 0
    assert_kept(before, stored(cells))
    sizes.append(cells.stat().st_size)
    for seed in (1, 2, 3):
        assert scr("fit", cells, "-o", cells, *FAST, "--random-state", seed).code == 0
    assert_kept(before, stored(cells))
    # three more fits take less room than the first: that of the one before is used again
    assert cells.stat().st_size - sizes[1] < sizes[1] - sizes[0]
    assert [path.name for path in cells.parent.iterdir()] == ["in.h5ad"]


def test_a_second_fit_without_an_ensemble_removes_the_spread_of_the_first(scr, cells):
    assert scr("fit", cells, "-o", cells, *FAST, "--n-models", 2, "--holdout-cells", 0.2).code == 0
    first = anndata.read_h5ad(cells)
    assert {"growth_std", "dynamics_holdout"} <= set(first.obs)
    assert scr("fit", cells, "-o", cells, *FAST).code == 0
    second = anndata.read_h5ad(cells)
    assert not {"growth_std", "dynamics_holdout"} & set(second.obs)
    assert "velocity_std_genes" not in second.obsm


def test_options_reach_the_fit(scr, cells, tmp_path):
    out = tmp_path / "out.h5ad"
    result = scr(
        "fit",
        cells,
        "-o",
        out,
        *FAST,
        *("--time-key", "day", "--n-dims", 1, "--mass", '{"0": 10, "1": 20, "2": 30}'),
        *("--holdout", 1, "--key-added", "alt", "--set", "optimizer=adamw"),
    )
    assert result.code == 0, result.err
    params = anndata.read_h5ad(out).uns["alt"]["params"]
    found = {k: params[k] for k in ("time_key", "n_dims", "mass", "holdout", "optimizer")}
    assert found == {
        "time_key": "day",
        "n_dims": 1,
        "mass": '{"0.0": 10.0, "1.0": 20.0, "2.0": 30.0}',
        "holdout": "[1.0]",
        "optimizer": "adamw",
    }


def test_the_matrix_can_be_the_representation(scr, cells, tmp_path):
    out = tmp_path / "out.h5ad"
    result = scr("fit", cells, "-o", out, *FAST, "--use-rep", "X")
    assert result.code == 0, result.err
    assert anndata.read_h5ad(out).obsm["velocity_X"].shape == anndata.read_h5ad(cells).shape
    assert scr("evaluate", out, "--device", "cpu").code == 0


def test_matrix_and_layers_are_not_read(scr, cells, tmp_path):
    with h5py.File(cells, "r+") as file:
        for name in ("X", "layers", "raw", "obsp"):
            del file[name]
            # no encoding of anndata: reading it would fail
            file[name] = np.zeros(3)
            file[name].attrs["encoding-type"] = "unheard of"
            file[name].attrs["encoding-version"] = "9"
    result = scr("fit", cells, "-o", tmp_path / "out.h5ad", *FAST)
    assert result.code == 0, result.err


def test_output_through_a_link_replaces_its_target(scr, cells, tmp_path):
    target = tmp_path / "elsewhere.h5ad"
    target.write_text("old")
    target.chmod(0o640)
    link = tmp_path / "link.h5ad"
    link.symlink_to(target)
    assert scr("fit", cells, "-o", link, *FAST).code == 0
    assert link.is_symlink()
    assert "dynamics" in anndata.read_h5ad(target).uns
    assert target.stat().st_mode & 0o777 == 0o640


def test_quiet_says_nothing_and_otherwise_logs_go_to_stderr(scr, cells, tmp_path):
    out = tmp_path / "out.h5ad"
    assert "delta = " in scr("fit", cells, "-o", out, *FAST).err
    assert scr("fit", cells, "-o", out, *FAST, "--quiet").err == ""
    assert "delta = " in scr("fit", cells, "-o", out, *FAST).err


def test_failure_while_writing_leaves_the_old_output(scr, cells, tmp_path, monkeypatch):
    out = tmp_path / "out.h5ad"
    shutil.copy(cells, out)
    before = out.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, os.strerror(28), str(out))

    monkeypatch.setattr("scruot.cli._h5ad.write_elem", full)
    result = scr("fit", cells, "-o", out, *FAST, "-q")
    assert (result.code, result.err) == (1, f"scruot: error: {out}: No space left on device\n")
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5ad", "out.h5ad"]


def test_input_that_changed_meanwhile_is_refused(scr, cells, tmp_path, monkeypatch):
    fit = scruot.tl.fit_dynamics

    def change_then_fit(adata, *args, **kwargs):
        anndata.read_h5ad(cells)[::-1].copy().write_h5ad(cells)
        return fit(adata, *args, **kwargs)

    monkeypatch.setattr("scruot.tl.fit_dynamics", change_then_fit)
    result = scr("fit", cells, "-o", tmp_path / "out.h5ad", *FAST)
    assert result.code == 1
    assert "other cells than when it was read" in result.err
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_interrupt_exits_with_130_and_a_checkpoint_resumes(
    scr, cells, tmp_path, monkeypatch, with_checkpoint
):
    checkpoint = tmp_path / "fit.npz"
    out, reference = tmp_path / "out.h5ad", tmp_path / "reference.h5ad"
    arguments = ("fit", cells, "-o", out, *FAST)
    if with_checkpoint:
        arguments += ("--checkpoint", checkpoint)
    one_step = training._one_step

    def interrupted(model, loss, optimizers, rates, schedule, state, generator):
        one_step(model, loss, optimizers, rates, schedule, state, generator)
        if state.step == 10:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(training, "_one_step", interrupted)
        result = scr(*arguments)
    assert result.code == 130
    last = result.err.splitlines()[-1]
    assert last.startswith("scruot: interrupted")
    assert not out.exists()
    assert checkpoint.exists() == with_checkpoint
    if not with_checkpoint:
        assert "--checkpoint" in last
        return
    assert last.endswith(f"Run the same command again to go on from {checkpoint}.")
    assert scr(*arguments).code == 0
    assert scr("fit", cells, "-o", reference, *FAST).code == 0
    np.testing.assert_array_equal(
        anndata.read_h5ad(out).obsm["velocity_genes"],
        anndata.read_h5ad(reference).obsm["velocity_genes"],
    )
