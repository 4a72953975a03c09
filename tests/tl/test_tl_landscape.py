"""Landscapes: heights are minus the log of a density that integrates to the population."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import multivariate_normal

import scruot

MEANS, MASSES = {0.0: (0.0, 0.0), 1.0: (2.0, 1.0)}, {0.0: 300, 1.0: 900}
COVARIANCE = np.array([[1.0, 0.4], [0.4, 0.5]])


@pytest.fixture
def moving(fit_constant):
    """Return a normal cloud that moves and triples, with a model that says so."""
    parts = []
    for t, n in MASSES.items():
        z = np.random.default_rng(int(t)).normal(size=(n, 2))
        z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T, bias=True))).T
        parts.append(MEANS[t] + z @ np.linalg.cholesky(COVARIANCE).T)
    obs = pd.DataFrame(
        {"time": np.repeat(list(MASSES), list(MASSES.values()))},
        index=[f"cell{i}" for i in range(1200)],
    )
    adata = AnnData(obs=obs, obsm={"X_pca": np.concatenate(parts).astype(np.float32)})
    return fit_constant(adata, velocity=(2.0, 1.0), growth=np.log(3.0))


def population(stored):
    area = np.diff(stored["x"][:2])[0] * np.diff(stored["y"][:2])[0]
    return np.exp(-stored["height"].astype(float)).sum((1, 2)) * area


def test_heights_of_cells_are_those_of_the_law(moving):
    scruot.tl.landscape(moving)
    for t, mean in MEANS.items():
        here = (moving.obs["time"] == t).to_numpy()
        exact = -multivariate_normal(mean, COVARIANCE).logpdf(moving.obsm["X_pca"][here])
        exact -= np.log(MASSES[t] / 300)
        # the blur widens the cloud by one or two per cent of its variance
        np.testing.assert_allclose(moving.obs.loc[here, "landscape"], exact, rtol=0.02, atol=0.03)


def test_pictures_integrate_to_the_population_also_between_observed_times(moving):
    scruot.tl.landscape(moving, times=[0, 0.5, 1], n_grid=80)
    stored = moving.uns["landscape"]
    np.testing.assert_allclose(population(stored), [1, 3**0.5, 3], rtol=0.02)
    lowest = [np.unravel_index(h.argmin(), h.shape) for h in stored["height"]]
    places = [(stored["x"][j], stored["y"][i]) for i, j in lowest]
    np.testing.assert_allclose(places, [(0, 0), (1, 0.5), (2, 1)], atol=0.15)
    assert stored["source"] == stored["grid_source"] == "cells"


def test_another_unit_changes_heights_by_its_volume_alone(moving, fit_constant):
    other = moving.copy()
    other.obsm["X_pca"] = 1e-4 * other.obsm["X_pca"]
    fit_constant(other, velocity=(2e-4, 1e-4), growth=np.log(3.0))
    for adata in (moving, other):
        scruot.tl.landscape(adata)
    np.testing.assert_allclose(
        other.obs["landscape"], moving.obs["landscape"] + 2 * np.log(1e-4), atol=1e-3
    )


def test_two_of_several_coordinates(moving, fit_constant):
    x = moving.obsm["X_pca"]
    moving.obsm["X_three"] = np.column_stack([x[:, 1], np.linspace(-1, 1, len(x)), x[:, 0]])
    moving.obsm["X_three"] = moving.obsm["X_three"].astype(np.float32)
    fit_constant(moving, velocity=(1.0, 0.0, 2.0), use_rep="X_three")
    scruot.tl.landscape(moving, components=(3, 1))
    stored = {k: np.copy(v) for k, v in moving.uns["landscape"].items()}
    # the same two coordinates in another basis
    scruot.tl.landscape(moving, basis="pca")
    np.testing.assert_allclose(stored["height"], moving.uns["landscape"]["height"], atol=0.05)
    np.testing.assert_allclose(population(stored), [1, 3], rtol=0.02)


@pytest.fixture(scope="module")
def learned():
    """Return cells with a density that was really learned, if briefly."""
    adata = scruot.datasets.three_gene(60, random_state=0, n_times=2)
    short = {"steps": 60, "batch_size": 128, "width": 32, "training": 0.0}
    scruot.tl.fit_dynamics(adata, "deepruot", use_rep="X_genes", progress=False, **short)
    return adata


def test_a_learned_density_is_taken_as_it_is(learned, tmp_path):
    scruot.tl.landscape(learned, times=[0, 0.3], components=(2, 1), n_grid=12)
    stored = learned.uns["landscape"]
    np.testing.assert_allclose(learned.obs["landscape"], -learned.obs["log_density"])
    point = np.array([[stored["y"][3], stored["x"][7]]], dtype=np.float32)
    expected = -scruot.get.dynamics(learned).log_density(0.3, point)[0]
    assert stored["height"][1, 3, 7] == pytest.approx(expected, abs=1e-4)
    assert stored["source"] == stored["grid_source"] == "learned"
    learned.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.uns["landscape"]["height"], stored["height"])
    assert scruot.pl.landscape(again, show=False)[0].get_xlabel() == "genes2"


def test_cells_may_be_asked_in_place_of_the_learned_density(learned):
    found = scruot.tl.landscape(learned, source="cells", copy=True)
    assert found.uns["landscape"]["source"] == "cells"
    sizes = learned.obs["time"].value_counts()
    expected = [1, sizes[1.0] / sizes[0.0]]
    np.testing.assert_allclose(population(found.uns["landscape"]), expected, rtol=0.03)
    assert not np.allclose(found.obs["landscape"], -learned.obs["log_density"], atol=0.1)


def test_a_left_out_time_is_what_the_model_says(unfitted, fit_constant):
    fit_constant(unfitted, holdout=1)
    scruot.tl.landscape(unfitted, times=1)
    assert population(unfitted.uns["landscape"])[0] == pytest.approx(2, rel=0.05)
    assert np.isfinite(unfitted.obs["landscape"]).all()


def test_key_and_copy(drifting, fit_constant):
    fit_constant(drifting, key="other")
    found = scruot.tl.landscape(drifting, key="other", copy=True)
    assert {"other_landscape"} == set(found.obs) - set(drifting.obs)
    assert "other_landscape" in found.uns
    assert "other_landscape" not in drifting.uns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "learnt"}, "Did you mean 'learned'"),
        ({"source": "learned"}, "learns velocity, growth"),
        ({"times": [-1.0]}, "from 0 to 3"),
        ({"times": [99]}, "from 0 to 3: there are no cells outside"),
        ({"times": ["noon"]}, "Found times with 'noon'; expected finite numbers"),
        ({"times": []}, "at least one"),
        ({"n_grid": 1}, "n_grid=1; expected a whole number >= 2"),
        ({"components": (1, 3)}, "from 1 to 2"),
        ({"components": (1, 1)}, "from 1 to 2"),
        ({"basis": "flat", "times": [0.5]}, "fitted representation alone"),
    ],
)
def test_impossible_requests_are_refused(drifting, options, message):
    drifting.obsm["X_flat"] = drifting.obsm["X_pca"]
    with pytest.raises(ValueError, match=message):
        scruot.tl.landscape(drifting, **options)
    assert "landscape" not in drifting.uns


def test_unknown_basis_and_missing_fit(drifting, unfitted):
    with pytest.raises(KeyError, match="Did you mean 'pca'"):
        scruot.tl.landscape(drifting, basis="pcb")
    del drifting.uns["dynamics"]
    with pytest.raises(KeyError, match="fit_dynamics"):
        scruot.tl.landscape(drifting)
