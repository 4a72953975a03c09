"""Fits in AnnData: what is read, what is written, and what survives a file."""

import json
import pickle

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scruot import get, tl
from tests.io._same import arrays, contents, same
from tests.io.conftest import make_adata

QUICK = {"steps": 20, "batch_size": 64, "width": 16, "progress": False}
WRITTEN = {
    "obs": ["growth"],
    "obsm": ["velocity_pca"],
    "uns": ["dynamics"],
}


def fit(adata, **options):
    return tl.fit_dynamics(adata, **{**QUICK, **options})


def results(adata, prefix=""):
    return adata.obsm[f"{prefix}velocity_pca"].copy(), adata.obs[f"{prefix}growth"].to_numpy()


@pytest.fixture(scope="module")
def fitted():
    """Return a fit that no test may change."""
    adata = make_adata()
    fit(adata)
    return adata


@pytest.fixture
def expected(fitted):
    return results(fitted)


# what is written


def test_slots(fitted):
    before, after = contents(make_adata()), contents(fitted)
    for part, held in after.items():
        if part in ("obs", "var"):
            new = [c for c in held.columns if c not in before[part].columns]
        elif isinstance(held, dict):
            new = [k for k in held if k not in before[part]]
        else:
            new = []
        assert new == WRITTEN.get(part, [])
    velocity, growth = results(fitted)
    assert (velocity.shape, velocity.dtype) == ((75, 4), np.float32)
    assert (growth.shape, growth.dtype) == ((75,), np.float64)
    record = fitted.uns["dynamics"]
    assert record["method"] == "wfrfm"
    assert {"steps", "delta", "time_key", "random_state", "mass"} <= record["params"].keys()
    assert record["params"]["steps"] == 20
    assert {len(v) for v in record["history"].values()} == {20}
    assert set(record["resolved"]) >= {"delta"}
    assert isinstance(json.loads(record["spec"]), dict)


def test_each_cell_at_its_own_time(fitted):
    model = get.dynamics(fitted)
    velocity, growth = results(fitted)
    x, t = fitted.obsm["X_pca"], fitted.obs["time"].to_numpy()
    for i in (0, 31, 74):
        np.testing.assert_allclose(model.velocity(t[i], x[i : i + 1])[0], velocity[i], rtol=1e-5)
        np.testing.assert_allclose(model.growth(t[i], x[i : i + 1])[0], growth[i], rtol=1e-5)


def test_same_call_same_bits(expected):
    again, other = make_adata(), make_adata()
    fit(again)
    fit(other, random_state=1)
    assert same(results(again)[0], expected[0])
    assert same(results(again)[1], expected[1])
    assert not np.isclose(results(other)[0], expected[0]).any()


def test_copy_leaves_the_original_alone(adata, expected):
    before = contents(adata)
    returned = fit(adata, copy=True)
    assert same(contents(adata), before)
    assert same(results(returned)[0], expected[0])
    assert fit(adata) is None


def test_fits_side_by_side(adata, expected):
    fit(adata)
    fit(adata, key_added="alt", n_dims=2)
    assert same(results(adata)[0], expected[0])
    assert adata.obsm["alt_velocity_pca"].shape == (75, 2)
    assert get.dynamics(adata).dim == 4
    assert get.dynamics(adata, "alt").dim == 2
    with pytest.raises(KeyError, match=r"found fits \['dynamics', 'alt'\].*Did you mean 'alt'"):
        get.dynamics(adata, "allt")


def test_a_new_fit_takes_the_old_ones_slots_away(adata):
    fit(adata, n_models=2, holdout_cells=0.2)
    assert {"growth_std", "dynamics_holdout"} <= set(adata.obs)
    assert "velocity_std_pca" in adata.obsm
    adata.uns["dynamics_evaluation"] = {"table": pd.DataFrame()}
    fit(adata)
    assert not {"growth_std", "dynamics_holdout"} & set(adata.obs)
    assert "velocity_std_pca" not in adata.obsm
    assert "dynamics_evaluation" not in adata.uns


def test_a_new_fit_takes_pictures_of_the_old_one_away(adata):
    adata.obsm["X_umap"] = adata.obsm["X_pca"][:, 1::-1].copy()
    adata.obsm["X_other"] = adata.obsm["X_pca"][:, :3].copy()
    adata.obsm["velocity_mine"] = adata.obsm["X_umap"].copy()
    fit(adata, key_added="alt")
    fit(adata)
    for key in (None, "alt"):
        tl.project_velocity(adata, basis="umap", key=key, n_neighbors=5)
    fit(adata, use_rep="X_other")
    written = {k for k in adata.obsm if "velocity" in k}
    assert written == {
        "velocity_other",
        "velocity_mine",
        "alt_velocity_pca",
        "alt_velocity_umap",
    }


@pytest.mark.parametrize("key", ["", "a/b", 3])
def test_keys_that_no_file_can_hold(adata, key):
    with pytest.raises(ValueError, match=f"Found the key {key!r}"):
        fit(adata, key_added=key)


def test_entries_of_others_are_not_replaced(adata, fitted):
    adata.uns["pca"] = {"variance": np.ones(3)}
    with pytest.raises(ValueError, match=r"uns\['pca'\], which is no fit.*another key_added"):
        fit(adata, key_added="pca")
    adata.uns["dynamics"] = "mine"
    with pytest.raises(ValueError, match=r"uns\['dynamics'\], which is no fit"):
        tl.apply_dynamics(adata, fitted)
    assert adata.uns["dynamics"] == "mine"


@pytest.mark.parametrize("role", ["mass", "time_key"])
def test_columns_that_the_fit_replaces_are_not_read(adata, role):
    adata.obs["growth"] = adata.obs["time"] + 1
    with pytest.raises(ValueError, match=f"Found {role}='growth', a column that the fit writes"):
        fit(adata, **{role: "growth"})
    fit(adata, key_added="alt", **{role: "growth"})


def test_ensemble(adata):
    fit(adata, n_models=2)
    model = get.dynamics(adata)
    assert model.n_models == 2
    assert (adata.obs["growth_std"] > 0).all()
    x, t = adata.obsm["X_pca"], adata.obs["time"].to_numpy()
    np.testing.assert_allclose(adata.obsm["velocity_std_pca"], model.spread("velocity", t, x))


# what is read


@pytest.mark.parametrize(
    "form", [np.asarray, pd.DataFrame, sparse.csr_matrix, sparse.csr_array, np.float64]
)
def test_representations_of_any_kind(adata, expected, form):
    x = adata.obsm["X_pca"]
    adata.obsm["X_pca"] = (
        pd.DataFrame(x, index=adata.obs_names) if form is pd.DataFrame else form(x)
    )
    fit(adata)
    assert same(results(adata)[0], expected[0])
    assert same(get.dynamics(adata).velocity(0.0, x), get.dynamics(adata).velocity(0.0, x))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_the_matrix_itself(adata, kind):
    held = anndata.AnnData(kind(adata.obsm["X_pca"]), obs=adata.obs)
    fit(held, use_rep="X")
    assert held.obsm["velocity_X"].shape == (75, 4)
    assert get.dynamics(held).dim == 4


TIME_COLUMNS = {
    "int": lambda t: t.astype(int),
    "nullable": lambda t: pd.array(t.astype(int), dtype="Int64"),
    "strings": lambda t: [f"day {v:g}" for v in t],
    "categorical": lambda t: pd.Categorical([f"E{v:g}" for v in t]),
    "float32": lambda t: t.astype(np.float32),
}


@pytest.mark.parametrize("form", TIME_COLUMNS)
def test_time_columns_of_any_kind(adata, expected, form):
    adata.obs["time"] = TIME_COLUMNS[form](adata.obs["time"].to_numpy())
    fit(adata)
    assert same(results(adata)[0], expected[0])


def test_views(adata, expected):
    whole = adata
    view = whole[np.arange(75)]
    before = contents(whole)
    with pytest.warns(anndata.ImplicitModificationWarning):
        fit(view)
    assert same(results(view)[0], expected[0])
    assert same(contents(whole), before)
    # without a warning where nothing of the view is written to
    returned = fit(whole[np.arange(75)], copy=True)
    assert same(results(returned)[0], expected[0])


def test_read_only_arrays(adata, expected):
    frozen = adata.obsm["X_pca"].copy()
    frozen.flags.writeable = False
    adata.obsm["X_pca"] = frozen
    fit(adata)
    assert same(results(adata)[0], expected[0])


@pytest.fixture
def path(adata, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_backed_files_are_not_read_whole(path, expected, monkeypatch):
    backed = anndata.read_h5ad(path, backed="r")
    read = []
    whole = h5py.Dataset.__getitem__

    def watched(dataset, *args, **options):
        read.append(dataset.name)
        return whole(dataset, *args, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    fit(backed)
    assert same(results(backed)[0], expected[0])
    assert "/X" not in read
    returned = fit(backed, copy=True)
    assert "/X" in read  # a copy is in memory: the watch works
    assert not returned.isbacked
    assert same(results(returned)[0], expected[0])
    backed.file.close()


def test_views_of_backed_files_are_refused_at_once(path, expected):
    backed = anndata.read_h5ad(path, backed="r")
    view = backed[np.arange(75)]
    with pytest.raises(ValueError, match=r"view of a backed AnnData.*to_memory\(\) first"):
        fit(view)
    assert same(results(fit(view, copy=True))[0], expected[0])
    backed.file.close()


# what a file keeps


@pytest.mark.parametrize("options", [{}, {"n_models": 2, "holdout_cells": 0.2, "holdout": [1.0]}])
def test_file(adata, tmp_path, options):
    fit(adata, mass={0: 1.0, 1: 2.0, 3: 4.5}, **options)
    path = tmp_path / "fitted.h5ad"
    adata.write_h5ad(path)  # any warning is an error here
    again = anndata.read_h5ad(path)
    assert same(dict(again.obsm), dict(adata.obsm))
    assert same(again.obs["growth"], adata.obs["growth"])
    assert not [a for a in arrays(adata.uns["dynamics"]) if a.dtype.kind == "O"]
    before, after = get.dynamics(adata), get.dynamics(again)
    x = adata.obsm["X_pca"]
    for t in (0.0, 0.7, 3.0):
        assert same(before.velocity(t, x), after.velocity(t, x))
        assert same(before.growth(t, x), after.growth(t, x))
    assert (
        before.masses == after.masses == (1.0, 4.5 if options else 2.0, 4.5)[: len(before.masses)]
    )
    assert before.times == after.times
    backed = anndata.read_h5ad(path, backed="r")
    assert same(before.velocity(1.0, x), get.dynamics(backed).velocity(1.0, x))
    backed.file.close()


def test_nothing_is_unpickled(fitted, tmp_path, monkeypatch):
    fitted.write_h5ad(tmp_path / "fitted.h5ad")
    again = anndata.read_h5ad(tmp_path / "fitted.h5ad")

    def refuse(*_, **__):
        raise AssertionError

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert get.dynamics(again).dim == 4


# what has changed


CHANGES = {
    "values": lambda x: x + np.float32(0.1),
    "fewer dimensions": lambda x: x[:, :3],
    "more dimensions": lambda x: np.hstack([x, x[:, :1]]),
    "permuted columns": lambda x: x[:, [1, 0, 2, 3]],
    "flipped sign": lambda x: x * np.array([1, -1, 1, 1], dtype=np.float32),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_representation_is_refused(fitted, change):
    adata = fitted.copy()
    adata.obsm["X_pca"] = CHANGES[change](adata.obsm["X_pca"])
    with pytest.raises(ValueError, match=r"has changed.* [Rr]estore"):
        get.dynamics(adata)


def test_leading_dimensions_of_a_larger_representation(adata):
    fit(adata, n_dims=3)
    adata.obsm["X_pca"] = adata.obsm["X_pca"][:, :3]
    assert get.dynamics(adata).dim == 3


def test_a_part_of_the_cells_in_any_order(fitted):
    x = fitted.obsm["X_pca"]
    expected = get.dynamics(fitted).velocity(1.0, x)
    for rows in (slice(10), [40, 3, 22], np.arange(75)[::-1]):
        assert same(get.dynamics(fitted[rows].copy()).velocity(1.0, x), expected)


def test_a_lost_representation_does_not_lose_the_model(fitted):
    adata = fitted.copy()
    del adata.obsm["X_pca"]
    assert get.dynamics(adata).dim == 4


# other cells


def test_apply(fitted, other):
    model, source = get.dynamics(fitted), contents(fitted)
    assert tl.apply_dynamics(other, fitted) is None
    x, t = other.obsm["X_pca"], other.obs["time"].to_numpy()
    np.testing.assert_allclose(other.obsm["velocity_pca"], model.velocity(t, x), rtol=1e-6)
    np.testing.assert_allclose(other.obs["growth"], model.growth(t, x), rtol=1e-6)
    assert same(get.dynamics(other).velocity(1.0, x), model.velocity(1.0, x))
    # nothing is shared
    for array in other.uns["dynamics"]["weights"].values():
        array += 1
    assert same(contents(fitted), source)


def test_apply_to_the_cells_of_the_fit(fitted, expected):
    adata = make_adata()
    tl.apply_dynamics(adata, fitted)
    assert same(results(adata)[0], expected[0])
    assert same(results(adata)[1], expected[1])


def test_apply_takes_what_was_there_away(adata, fitted):
    adata.obsm["X_umap"] = adata.obsm["X_pca"][:, 1::-1].copy()
    fit(adata)
    tl.project_velocity(adata, basis="umap", n_neighbors=5)
    adata.uns["dynamics_evaluation"] = {"table": pd.DataFrame()}
    source, cells = adata.copy(), adata.copy()
    tl.apply_dynamics(cells, source)
    assert set(cells.obsm) == {"X_pca", "X_umap", "velocity_pca"}
    assert "dynamics_evaluation" not in cells.uns
    # pictures of other cells are none of these
    assert "projection" not in cells.uns["dynamics"]


def test_apply_to_a_copy(fitted, other):
    before = contents(other)
    returned = tl.apply_dynamics(other, fitted, copy=True)
    assert same(contents(other), before)
    assert "velocity_pca" in returned.obsm


def test_apply_by_key(adata, other):
    fit(adata, key_added="alt")
    tl.apply_dynamics(other, adata, key="alt")
    assert set(other.obsm) == {"X_pca", "alt_velocity_pca"}
    assert get.dynamics(other, "alt").dim == 4


def test_apply_keeps_the_ranks_of_words(adata, other):
    words = {0.0: "early", 1.0: "middle", 3.0: "late"}

    def stages(cells):
        return pd.Categorical(
            cells.obs["time"].map(words), categories=list(words.values()), ordered=True
        )

    adata.obs["stage"], other.obs["stage"] = stages(adata), stages(other)
    fit(adata, time_key="stage")
    whole = tl.apply_dynamics(other, adata, copy=True)
    late = other[other.obs["time"] > 0].copy()
    assert list(late.obs["stage"].cat.categories) == ["middle", "late"]
    tl.apply_dynamics(late, adata)
    expected = whole[late.obs_names].obsm["velocity_pca"]
    np.testing.assert_array_equal(late.obsm["velocity_pca"], expected)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_apply_refusals(fitted, other):
    narrow, without, twice, timeless = (other.copy() for _ in range(4))
    narrow.obsm["X_pca"] = narrow.obsm["X_pca"][:, :2]
    del without.obsm["X_pca"]
    twice.obs_names = ["same"] * 75
    del timeless.obs["time"]
    for cells, error, message in (
        (narrow, ValueError, "'X_pca' has 2 columns, the model was fitted on 4"),
        (without, KeyError, "No representation 'X_pca'"),
        (twice, ValueError, "Cell names are not unique"),
        (timeless, KeyError, "No time column 'time'"),
    ):
        before = contents(cells)
        with pytest.raises(error, match=message):
            tl.apply_dynamics(cells, fitted)
        assert same(contents(cells), before)
    with pytest.raises(KeyError, match=r"found no fit at all.*fit_dynamics\(adata\) first"):
        tl.apply_dynamics(other, other)
    with pytest.raises(ValueError, match="the fitted object itself"):
        tl.apply_dynamics(fitted, fitted)


# damage


def without_weights(record):
    del record["weights"]["head.bias"]


def wrong_shape(record):
    record["weights"]["head.bias"] = record["weights"]["head.bias"][:2]


def extra_array(record):
    record["weights"]["more"] = np.zeros(3)


def object_array(record):
    record["weights"]["head.bias"] = np.array([None] * 5, dtype=object)


def no_json(record):
    record["spec"] = record["spec"][:20]


def other_json(record):
    record["spec"] = "[1, 2]"


def no_scale(record):
    record["spec"] = json.dumps(
        {k: v for k, v in json.loads(record["spec"]).items() if k != "scale"}
    )


def unknown_config(record):
    spec = json.loads(record["spec"])
    spec["fields"][0]["colour"] = "red"
    record["spec"] = json.dumps(spec)


def no_fields(record):
    spec = json.loads(record["spec"])
    record["spec"] = json.dumps({**spec, "fields": []})


DAMAGE = [
    without_weights,
    wrong_shape,
    extra_array,
    object_array,
    no_json,
    other_json,
    no_scale,
    unknown_config,
    no_fields,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_entries(fitted, damage):
    adata = fitted.copy()
    damage(adata.uns["dynamics"])
    with pytest.raises(ValueError, match=r"stored model is damaged .*fit again"):
        get.dynamics(adata)


def test_incomplete_entries(fitted):
    for lost in ("method", "params", "representation", "weights", "spec"):
        adata = fitted.copy()
        del adata.uns["dynamics"][lost]
        with pytest.raises(ValueError, match=rf"no complete fit of scruot \(missing: \['{lost}'\]"):
            get.dynamics(adata)
    adata.uns["dynamics"] = np.zeros(3)
    with pytest.raises(ValueError, match="no complete fit of scruot"):
        get.dynamics(adata)


def test_entries_of_the_future(fitted):
    adata = fitted.copy()
    spec = json.loads(adata.uns["dynamics"]["spec"])
    adata.uns["dynamics"]["spec"] = json.dumps({**spec, "format": 99})
    with pytest.raises(ValueError, match=r"newer scruot \(format 99\); update scruot"):
        get.dynamics(adata)
    adata = fitted.copy()
    adata.uns["dynamics"]["method"] = "wfrfn"
    with pytest.raises(ValueError, match=r"Unknown method 'wfrfn'. Did you mean 'wfrfm'\?"):
        get.dynamics(adata)
