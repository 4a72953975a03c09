"""Velocities in an embedding that was not fitted."""

import logging

import anndata
import numpy as np
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from scruot.tl import _project_velocity as module
from scruot.tl import project_velocity


def swirl(x):
    return np.stack([1 + 0.5 * x[:, 1], 0.3 - 0.8 * x[:, 0]], axis=1)


def fitted(n=600, dim=5, noise=0.0, seed=0, key="dynamics"):
    """Return cells on a turned plane with a velocity in it, and the plane's own coordinates."""
    rng = np.random.default_rng(seed)
    plane = rng.uniform(-1, 1, (n, 2))
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0][:2]
    adata = AnnData(np.zeros((n, 1), dtype=np.float32))
    adata.obs["time"] = rng.choice([0.0, 1.0], n)
    x = plane @ axes + noise * rng.normal(size=(n, dim))
    adata.obsm["X_pca"] = x.astype(np.float32)
    name = "velocity_pca" if key == "dynamics" else f"{key}_velocity_pca"
    adata.obsm[name] = (swirl(plane) @ axes).astype(np.float32)
    adata.obsm["X_umap"] = plane.astype(np.float32)
    adata.uns[key] = {
        "method": "wfrfm",
        "params": {"time_key": "time", "n_dims": "null"},
        "representation": {"use_rep": "X_pca", "n_dims": dim},
        "weights": {},
        "spec": "{}",
    }
    return adata, plane


def taken(adata, rows):
    """Return chosen cells, some of them several times, under new names."""
    other = AnnData(adata.X[rows], obsm={k: v[rows] for k, v in adata.obsm.items()})
    other.obs["time"] = adata.obs["time"].to_numpy()[rows]
    other.uns["dynamics"] = adata.uns["dynamics"]
    return other


def cosine(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@given(
    angle=st.floats(0, 2 * np.pi),
    size=st.floats(0.01, 100),
    mirrored=st.booleans(),
    seed=st.integers(0, 5),
)
def test_a_turned_plane_turns_the_arrows(angle, size, mirrored, seed):
    adata, plane = fitted(n=1500, seed=seed)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turn = size * turn @ np.diag([1, -1 if mirrored else 1])
    adata.obsm["X_umap"] = (plane @ turn).astype(np.float32)
    project_velocity(adata, n_neighbors=60)
    found, truth = adata.obsm["velocity_umap"], swirl(plane) @ turn
    inside = (np.abs(plane) < 0.6).all(1)
    assert cosine(found, truth)[inside].min() > 0.9
    # Lengths are in the embedding's units per unit of time.
    ratio = np.linalg.norm(found, axis=1) / np.linalg.norm(truth, axis=1)
    assert np.median(ratio[inside]) == pytest.approx(1.0, abs=0.1)


def test_lengths_compare_cells():
    adata, plane = fitted(n=1500)
    fast = plane[:, 0] > 0
    adata.obsm["velocity_pca"] = np.where(fast[:, None], 3, 1) * adata.obsm["velocity_pca"]
    speed = np.linalg.norm(adata.obsm["velocity_pca"], axis=1)
    project_velocity(adata)
    length = np.linalg.norm(adata.obsm["velocity_umap"], axis=1)
    inside = (np.abs(plane) < 0.8).all(1)
    assert np.corrcoef(speed[inside], length[inside])[0, 1] > 0.9


@given(factor=st.floats(1e-3, 1e3))
def test_arrows_scale_with_the_velocity(factor):
    adata, _ = fitted(n=200)
    project_velocity(adata)
    before = adata.obsm["velocity_umap"].copy()
    adata.obsm["velocity_pca"] = (factor * adata.obsm["velocity_pca"]).astype(np.float32)
    project_velocity(adata)
    np.testing.assert_allclose(adata.obsm["velocity_umap"], factor * before, rtol=1e-3)


def reference(x, v, target, index, kappa):
    """Compute the sum of the docstring row by row, without its factor."""
    out = np.zeros_like(target)
    for i, near in enumerate(index):
        step = x[near] - x[i]
        angle = step @ v[i] / np.linalg.norm(step, axis=1) / np.linalg.norm(v[i])
        p = np.exp(kappa * angle)
        p /= p.sum()
        way = target[near] - target[i]
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        out[i] = np.linalg.norm(v[i]) * (p @ way - p.mean() * way.sum(0))
    return out


@pytest.mark.parametrize("rows", [7, 4096])
def test_equals_the_formula_row_by_row(rows, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", rows)
    adata, _ = fitted(n=60, noise=0.3)
    adata.obsm["X_umap"] = np.tanh(adata.obsm["X_pca"][:, [2, 0]])
    project_velocity(adata, n_neighbors=8, softmax_scale=3.0)
    x, v, target = (adata.obsm[k].astype(float) for k in ("X_pca", "velocity_pca", "X_umap"))
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    index = np.argsort(apart, axis=1)[:, 1:9]
    used = adata.uns["dynamics"]["projection"]["umap"]
    expected = used["length_scale"] * reference(x, v, target, index, 3.0)
    np.testing.assert_allclose(adata.obsm["velocity_umap"], expected, atol=1e-4)


def test_what_is_written():
    adata, _ = fitted()
    adata.obsm["X_cube"] = np.random.default_rng(1).normal(size=(600, 3))
    assert project_velocity(adata) is None
    assert project_velocity(adata, "X_cube", n_neighbors=10, softmax_scale=4) is None
    assert adata.obsm["velocity_umap"].dtype == np.float32
    assert adata.obsm["velocity_umap"].shape == (600, 2)
    assert adata.obsm["velocity_cube"].shape == (600, 3)
    stored = adata.uns["dynamics"]["projection"]
    assert set(stored) == {"umap", "cube"}
    assert (stored["cube"]["n_neighbors"], stored["cube"]["softmax_scale"]) == (10, 4.0)
    assert stored["umap"]["softmax_scale"] > 1


def test_copy_leaves_the_original():
    adata, _ = fitted()
    other = project_velocity(adata, copy=True)
    assert "velocity_umap" not in adata.obsm
    assert "projection" not in adata.uns["dynamics"]
    project_velocity(adata)
    np.testing.assert_array_equal(other.obsm["velocity_umap"], adata.obsm["velocity_umap"])


def test_a_key_of_its_own():
    adata, _ = fitted(key="alt")
    project_velocity(adata, key="alt")
    assert "alt_velocity_umap" in adata.obsm
    assert "umap" in adata.uns["alt"]["projection"]


def test_auto_is_reported(caplog):
    adata, _ = fitted(n=50)
    with caplog.at_level(logging.INFO, logger="scruot"):
        project_velocity(adata)
    assert "softmax_scale = " in caplog.text


def test_duplicate_cells_change_nothing():
    adata, _ = fitted(n=300)
    project_velocity(adata)
    alone = adata.obsm["velocity_umap"]
    # Each cell forty times over: more copies than neighbours.
    many = taken(adata, np.repeat(np.arange(300), 40))
    project_velocity(many)
    np.testing.assert_allclose(many.obsm["velocity_umap"], np.repeat(alone, 40, axis=0), atol=1e-4)


def test_neighbours_at_the_same_place_in_the_embedding():
    adata, _ = fitted(n=100)
    adata.obsm["X_umap"][:] = 1.0
    project_velocity(adata)
    assert (adata.obsm["velocity_umap"] == 0).all()


def test_cells_that_stand_still_have_no_arrow():
    adata, _ = fitted(n=100)
    adata.obsm["velocity_pca"][:10] = 0
    project_velocity(adata)
    length = np.linalg.norm(adata.obsm["velocity_umap"], axis=1)
    assert (length[:10] == 0).all()
    assert (length[10:] > 0).all()
    adata.obsm["velocity_pca"][:] = 0
    project_velocity(adata)
    assert (adata.obsm["velocity_umap"] == 0).all()


@pytest.mark.parametrize("n", [2, 5])
def test_fewer_cells_than_neighbours(n):
    adata, _ = fitted(n=n)
    project_velocity(adata)
    assert np.isfinite(adata.obsm["velocity_umap"]).all()


@pytest.mark.slow  # The neighbour search is compiled first.
def test_approximate_neighbours_give_the_same_arrows(monkeypatch):
    adata, _ = fitted(n=2000)
    project_velocity(adata)
    exact = adata.obsm["velocity_umap"].copy()
    monkeypatch.setattr(module, "_EXACT_UP_TO", 10)
    # The same cells twice over: neighbours are searched among distinct points here, too.
    twice = taken(adata, np.tile(np.arange(2000), 2))
    project_velocity(twice)
    both = twice.obsm["velocity_umap"].reshape(2, 2000, 2)
    np.testing.assert_array_equal(both[0], both[1])
    assert np.mean(cosine(both[0], exact) > 0.99) > 0.99


def test_errors_name_the_remedy():
    adata, _ = fitted(n=50)
    with pytest.raises(ValueError, match=r"'pca'.*the fitted representation.*velocity_pca"):
        project_velocity(adata, "pca")
    with pytest.raises(KeyError, match=r"X_unap.*Did you mean 'X_umap'"):
        project_velocity(adata, "unap")
    adata.obsm["X_umap"][3, 1] = np.nan
    with pytest.raises(ValueError, match="'X_umap' holds NaN or infinity in 1 cells"):
        project_velocity(adata)
    assert "velocity_umap" not in adata.obsm
    with pytest.raises(KeyError, match="fit_dynamics"):
        project_velocity(adata, key="other")


@pytest.mark.parametrize("wrong", [{"n_neighbors": 1}, {"n_neighbors": 2.5}, {"n_neighbors": "a"}])
def test_wrong_number_of_neighbours(wrong):
    with pytest.raises(ValueError, match="whole number >= 2"):
        project_velocity(fitted(n=20)[0], **wrong)


@pytest.mark.parametrize("wrong", [0, -1.0, np.nan, np.inf, "car"])
def test_wrong_softmax_scale(wrong):
    with pytest.raises(ValueError, match="softmax_scale"):
        project_velocity(fitted(n=20)[0], softmax_scale=wrong)


def test_velocity_must_fit_the_representation():
    adata, _ = fitted(n=20)
    adata.obsm["velocity_pca"] = adata.obsm["velocity_pca"][:, :3]
    with pytest.raises(ValueError, match=r"\(20, 3\).*\(20, 5\)"):
        project_velocity(adata)
    del adata.obsm["velocity_pca"]
    with pytest.raises(KeyError, match="velocity_pca"):
        project_velocity(adata)


def test_backed_files(tmp_path):
    adata, _ = fitted(n=50)
    adata.write_h5ad(tmp_path / "fitted.h5ad")
    backed = anndata.read_h5ad(tmp_path / "fitted.h5ad", backed="r")
    returned = project_velocity(backed, n_neighbors=5, copy=True)
    assert not returned.isbacked
    assert "velocity_umap" not in backed.obsm
    with pytest.raises(ValueError, match="view of a backed AnnData"):
        project_velocity(backed[np.arange(50)], n_neighbors=5)
    project_velocity(backed, n_neighbors=5)
    np.testing.assert_array_equal(backed.obsm["velocity_umap"], returned.obsm["velocity_umap"])
    backed.file.close()
