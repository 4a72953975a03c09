"""Landscapes, potentials and score fields: what is drawn is what is stored."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.contour import ContourSet
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

import scruot
from scruot import pl


def shades(ax):
    return next(c for c in ax.collections if isinstance(c, ContourSet) and c.filled)


def of_the_law(toy, moment):
    """Return the height of the law of :func:`conftest.valleys` at one time, as a function."""
    stored = toy.uns["landscape"]
    corner = stored["height"][list(stored["times"]).index(moment), 0, 0]

    def bowl(x, y):
        return ((x - 2 * moment) ** 2 + y**2) / 2

    constant = corner - bowl(stored["x"][0], stored["y"][0])
    return lambda x, y: bowl(x, y) + constant


def test_contours_of_a_map_are_where_the_height_is(toy):
    axes = pl.landscape(toy, vmax=4.0, show=False)
    stored = toy.uns["landscape"]
    assert [ax.get_title() for ax in axes] == ["time 0", "time 1", "time 2", "time 4"]
    for ax, moment in zip(axes, stored["times"], strict=True):
        filled = shades(ax)
        assert filled.get_clim() == pytest.approx((stored["height"].min(), 4.0))
        assert filled.levels[[0, -1]] == pytest.approx(filled.get_clim())
        height = of_the_law(toy, moment)
        for level, below in zip(filled.levels, filled.levels[1:], strict=False):
            path = filled.get_paths()[list(filled.levels).index(level)]
            if len(path.vertices):
                found = height(*path.vertices.T)
                # the grid is 0.4 wide, and linear between its points
                assert found.min() > level - 0.03
                assert found.max() < below + 0.03


def test_nearly_all_of_a_population_lies_below_the_default_ceiling(toy):
    height = toy.uns["landscape"]["height"]
    ceiling = shades(pl.landscape(toy, show=False)[0]).get_clim()[1]
    share = [np.exp(-h)[h <= ceiling].sum() / np.exp(-h).sum() for h in height]
    assert min(share) == pytest.approx(0.99, abs=0.005)


def test_surface_is_the_well_below_the_ceiling_and_nothing_else(toy, monkeypatch):
    wells = []

    def record(quads, **options):
        wells.append(quads)
        return Poly3DCollection(quads, **options)

    monkeypatch.setattr("scruot.pl._landscape.Poly3DCollection", record)
    axes = pl.landscape(toy, kind="surface", times=[1, 4], vmax=3.0, azimuth=30.0, show=False)
    assert [ax.name for ax in axes] == ["3d", "3d"]
    lowest = toy.uns["landscape"]["height"].min()
    for ax, moment, well in zip(axes, [1, 4], wells, strict=True):
        assert ax.azim == 30.0
        ground, top = ax.get_zlim()
        assert top == pytest.approx(3.0)
        assert ground < lowest
        x, y, z = np.moveaxis(well, -1, 0)
        # a parabola, which cubic splines meet exactly
        np.testing.assert_allclose(z, np.minimum(of_the_law(toy, moment)(x, y), 3.0), atol=1e-6)
        assert (z.min(axis=1) < 3.0).all()
    axes[0].figure.canvas.draw()


def test_surface_wants_axes_in_three_dimensions(toy):
    with pytest.raises(ValueError, match="subplot_kw"):
        pl.landscape(toy, kind="surface", times=[1], ax=plt.subplots()[1])


def test_landscapes_that_are_not_there(toy):
    with pytest.raises(ValueError, match="Did you mean 'map'"):
        pl.landscape(toy, kind="mop", show=False)
    with pytest.raises(ValueError, match=r"times=\[3\]"):
        pl.landscape(toy, times=[3], show=False)
    del toy.uns["landscape"]
    with pytest.raises(KeyError, match=r"scruot\.tl\.landscape\(adata\)"):
        pl.landscape(toy, show=False)


def test_times_by_their_labels(toy):
    toy.uns["dynamics"]["params"]["time_key"] = "day"
    axes = pl.landscape(toy, times=["day 1", "day 4"], show=False)
    assert [ax.get_title() for ax in axes] == ["day 1", "day 4"]


def test_colours_of_the_potential_are_even_about_zero(toy):
    ax = pl.potential(toy, vmax=0.5, cmap="PuOr", show=False)
    toy.obs["growth"] = toy.obs["potential"]
    other = pl.growth(toy, vmax=0.5, cmap="PuOr", show=False)
    np.testing.assert_array_equal(
        ax.collections[0].get_facecolors(), other.collections[0].get_facecolors()
    )


def test_potential_of_one_time_at_all_cells():
    adata = scruot.datasets.three_gene(40, random_state=0, n_times=2)
    short = {"steps": 3, "rollout_steps": 0, "score_steps": 1, "width": 8, "batch_size": 32}
    scruot.tl.fit_dynamics(adata, "varruot", use_rep="X_genes", progress=False, **short)
    expected = scruot.get.dynamics(adata).potential(0.5, adata.obsm["X_genes"])
    limit = np.abs(expected).max()
    ax = pl.potential(adata, time=0.5, vmax=limit, size=3.0, show=False)
    colors = plt.get_cmap("coolwarm")(0.5 + expected / (2 * limit))
    order = np.random.default_rng(0).permutation(len(expected))
    np.testing.assert_allclose(ax.collections[0].get_facecolors(), colors[order], atol=0.02)
    with pytest.raises(ValueError, match="one number"):
        pl.potential(adata, time="noon", show=False)


def test_methods_without_a_potential_are_named(toy):
    del toy.obs["potential"]
    with pytest.raises(KeyError, match="'wfrfm' learns none"):
        pl.potential(toy, show=False)


@pytest.mark.parametrize("draw", [pl.velocity, pl.velocity_stream])
def test_score_and_drift_as_arrows(toy, draw):
    with pytest.raises(KeyError, match=r"no score in the basis 'pca'.*sigma"):
        draw(toy, field="score", show=False)
    with pytest.raises(ValueError, match="Did you mean 'score'"):
        draw(toy, field="scare", show=False)
    toy.obsm["score_pca"] = -toy.obsm["velocity_pca"]
    with pytest.raises(KeyError, match="Only the velocity can be projected"):
        draw(toy, "umap", field="score", show=False)
    assert draw(toy, field="score", show=False).has_data()


def test_arrows_of_the_score_are_the_stored_ones(toy):
    toy.obsm["score_pca"] = -toy.obsm["velocity_pca"]
    one, other = (
        next(
            c
            for c in pl.velocity(toy, kind="cells", field=f, show=False).collections
            if hasattr(c, "U")
        )
        for f in ("velocity", "score")
    )
    np.testing.assert_allclose(one.U, -other.U)
    np.testing.assert_allclose(one.V, -other.V)
