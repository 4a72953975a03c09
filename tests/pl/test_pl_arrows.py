"""Streams, arrows and growth: the layers are there and show the data."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.patches import FancyArrowPatch
from matplotlib.quiver import Quiver

from scruot import pl
from scruot.pl._colors import GROWTH_MAP, OKABE_ITO
from scruot.pl._grid import smooth_on_grid
from scruot.pl._read import time_text


def layer(ax, kind):
    """Return the only artist of a kind."""
    (found,) = [artist for artist in ax.collections if type(artist) is kind]
    return found


def drawn_cells(ax):
    """Return coordinates and colours of the dots, sorted by coordinates."""
    dots = layer(ax, PathCollection)
    position, color = np.asarray(dots.get_offsets()), dots.get_facecolors()
    order = np.lexsort(position.T)
    return position[order], color[order]


def by_position(position, values):
    return np.asarray(values)[np.lexsort(np.asarray(position).T)]


@pytest.fixture
def planar(toy):
    return toy.obsm["X_pca"][:, :2]


@pytest.mark.parametrize("draw", [pl.velocity_stream, pl.velocity, pl.growth])
def test_every_cell_is_a_dot_in_its_place(draw, toy, planar):
    position, _ = drawn_cells(draw(toy, show=False))
    np.testing.assert_allclose(position, by_position(planar, planar))


@pytest.mark.parametrize("draw", [pl.velocity_stream, pl.velocity, pl.growth])
def test_times_choose_cells_by_number_or_label(draw, toy, planar):
    here = np.isin(toy.obs["time"], [1, 4])
    position, _ = drawn_cells(draw(toy, times=[1, 4.0], show=False))
    np.testing.assert_allclose(position, by_position(planar[here], planar[here]))
    toy.uns["dynamics"]["params"]["time_key"] = "day"
    position, _ = drawn_cells(draw(toy, times=["day 1", "day 4"], show=False))
    np.testing.assert_allclose(position, by_position(planar[here], planar[here]))
    with pytest.raises(ValueError, match=r"times=\['day 3'\]; expected some of \['day 0'"):
        draw(toy, times=["day 1", "day 3"], show=False)


def test_streamlines_run_along_the_velocity(toy):
    ax = pl.velocity_stream(toy, show=False)
    segments = np.asarray(layer(ax, LineCollection).get_segments())
    assert len(segments) > 50
    middle, step = segments.mean(1), np.diff(segments, axis=1)[:, 0]
    late = (middle[:, 0] > 6.5) & (np.linalg.norm(step, axis=1) > 0)
    assert late.sum() > 20
    side = np.sign(middle[late, 1])
    expected = np.stack([np.full(late.sum(), 2.0), side], axis=1) / np.sqrt(5)
    cosine = (step[late] * expected).sum(1) / np.linalg.norm(step[late], axis=1)
    assert cosine.min() > 0.99
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert arrows


def test_streamlines_stay_near_cells(toy, planar):
    ax = pl.velocity_stream(toy, show=False)
    segments = np.concatenate(layer(ax, LineCollection).get_segments())
    extent = np.ptp(planar, axis=0)
    apart = np.linalg.norm((segments[:, None] - planar[None]) / extent, axis=-1).min(1)
    assert apart.max() < 0.06
    # Between the branches, which part, there are no cells and so no lines.
    between = (segments[:, 0] > 5) & (np.abs(segments[:, 1]) < 0.5)
    assert not between.any()


def test_fast_streams_are_thick(toy):
    ax = pl.velocity_stream(toy, linewidth=2.0, show=False)
    toy.obsm["velocity_pca"][(toy.obs["time"] == 0).to_numpy()] *= 0.1
    slow = layer(pl.velocity_stream(toy, linewidth=2.0, show=False), LineCollection)
    even = layer(ax, LineCollection)
    assert np.min(even.get_linewidths()) > 1.5
    assert np.min(slow.get_linewidths()) < 1.1


def test_one_arrow_per_cell_is_its_velocity(toy, planar):
    ax = pl.velocity(toy, kind="cells", n_arrows=10_000, show=False)
    arrows = layer(ax, Quiver)
    assert len(arrows.XY) == toy.n_obs
    np.testing.assert_allclose(arrows.XY, planar)
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V], 1), toy.obsm["velocity_pca"][:, :2])
    assert (arrows.angles, arrows.scale_units) == ("xy", "xy")


def test_fewer_arrows_than_cells_are_the_same_each_time(toy, planar):
    first, second = (
        layer(pl.velocity(toy, kind="cells", n_arrows=30, show=False), Quiver) for _ in range(2)
    )
    assert first.N == 30
    np.testing.assert_array_equal(first.XY, second.XY)
    assert {tuple(p) for p in first.XY.tolist()} <= {tuple(p) for p in planar.tolist()}


def test_grid_arrows_average_the_cells(toy):
    toy.obsm["velocity_pca"][:] = [3.0, -1.0, 0.0]
    arrows = layer(pl.velocity(toy, kind="grid", n_grid=15, show=False), Quiver)
    assert 10 < arrows.N < 15 * 15
    np.testing.assert_allclose(arrows.U, 3.0)
    np.testing.assert_allclose(arrows.V, -1.0)


def test_arrow_length_is_proportional(toy):
    short, long = (
        layer(pl.velocity(toy, kind="cells", arrow_length=k, show=False), Quiver) for k in (1, 2)
    )
    assert short.scale == pytest.approx(2 * long.scale)


def test_unknown_kind(toy):
    with pytest.raises(ValueError, match="Did you mean 'cells'"):
        pl.velocity(toy, kind="cell", show=False)


def test_cells_without_velocity_are_left_out(toy):
    toy.obsm["velocity_pca"][:5] = np.nan
    arrows = layer(pl.velocity(toy, kind="cells", n_arrows=10_000, show=False), Quiver)
    assert len(arrows.XY) == toy.n_obs - 5
    toy.obsm["velocity_pca"][:] = np.nan
    with pytest.raises(ValueError, match="no cell with finite"):
        pl.velocity_stream(toy, show=False)


def test_a_still_field_draws_its_cells(toy):
    toy.obsm["velocity_pca"][:] = 0
    for ax in (pl.velocity(toy, show=False), pl.velocity_stream(toy, show=False)):
        assert len(layer(ax, PathCollection).get_offsets()) == toy.n_obs


def test_a_dataframe_is_a_basis_like_any_other(toy):
    for name in ("X_pca", "velocity_pca"):
        toy.obsm[name] = pd.DataFrame(toy.obsm[name], index=toy.obs_names)
    assert layer(pl.velocity(toy, show=False), Quiver).N > 0


def test_time_is_the_default_colour_in_even_steps(toy, planar):
    ax = pl.velocity_stream(toy, alpha=1, show=False)
    _, color = drawn_cells(ax)
    time = by_position(planar, toy.obs["time"])
    steps = plt.get_cmap("viridis")(np.linspace(0, 0.95, 4))
    np.testing.assert_allclose(color, steps[np.searchsorted([0, 1, 2, 4], time)])
    (bar,) = [other for other in ax.figure.axes if other is not ax]
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0", "1", "2", "4"]
    assert bar.get_ylabel() == "time"


def test_labels_of_times_are_kept_in_order(toy):
    toy.uns["dynamics"]["params"]["time_key"] = "day"
    ax = pl.velocity(toy, show=False)
    bar = ax.figure.axes[1]
    assert [t.get_text() for t in bar.get_yticklabels()] == ["day 0", "day 1", "day 2", "day 4"]


def test_many_times_make_a_continuous_bar(toy, rng):
    toy.obs["time"] = rng.uniform(0, 4, toy.n_obs)
    ax = pl.velocity(toy, show=False)
    assert len(np.unique(drawn_cells(ax)[1], axis=0)) > 100


@pytest.mark.parametrize("stored", [True, False])
def test_categories_take_stored_colours(toy, planar, stored):
    if stored:
        toy.uns["branch_colors"] = ["#ff0000", "#00ff00"]
    ax = pl.velocity(toy, color="branch", alpha=1, show=False)
    _, color = drawn_cells(ax)
    used = {"lower": "#ff0000", "upper": "#00ff00"}
    if not stored:
        used = dict(zip(("lower", "upper"), map(to_hex, OKABE_ITO[:2]), strict=True))
    expected = [to_rgba(used[name]) for name in by_position(planar, toy.obs["branch"])]
    np.testing.assert_allclose(color, expected)
    shown = {t.get_text(): h for t, h in zip(*legend_of(ax), strict=True)}
    assert {name: to_hex(h.get_color()) for name, h in shown.items()} == used


def legend_of(ax):
    return ax.get_legend().get_texts(), ax.get_legend().legend_handles


def test_colours_of_a_categorical_time_are_kept(toy):
    toy.obs["time"] = toy.obs["time"].astype("category")
    toy.uns["time_colors"] = ["#111111", "#222222", "#333333", "#444444"]
    ax = pl.velocity(toy, alpha=1, show=False)
    assert [t.get_text() for t in legend_of(ax)[0]] == ["0.0", "1.0", "2.0", "4.0"]
    assert {to_hex(c) for c in drawn_cells(ax)[1]} == set(toy.uns["time_colors"])


def test_a_missing_category_is_grey(toy, planar):
    toy.obs.loc[toy.obs_names[:7], "branch"] = np.nan
    _, color = drawn_cells(pl.velocity(toy, color="branch", alpha=1, show=False))
    assert (color == to_rgba("lightgray")).all(1).sum() == 7


def test_numbers_get_a_colour_map(toy, planar):
    _, color = drawn_cells(pl.velocity(toy, color="score", cmap="cividis", alpha=1, show=False))
    score = by_position(planar, toy.obs["score"])
    np.testing.assert_allclose(color, plt.get_cmap("cividis")((score + 4) / 8))


def test_one_colour_for_all_needs_no_key(toy):
    ax = pl.velocity(toy, color="tab:blue", alpha=1, show=False)
    assert np.unique(drawn_cells(ax)[1], axis=0).tolist() == [list(to_rgba("tab:blue"))]
    assert ax.get_legend() is None
    assert ax.figure.axes == [ax]


def test_a_misspelt_colour(toy):
    with pytest.raises(KeyError, match="Did you mean 'branch'"):
        pl.velocity(toy, color="brunch", show=False)


@pytest.mark.parametrize("as_color", [True, False])
def test_growth_is_centred_at_zero(toy, planar, as_color):
    if as_color:
        ax = pl.velocity(toy, color="growth", alpha=1, show=False)
    else:
        ax = pl.growth(toy, show=False)
    _, color = drawn_cells(ax)
    rate = by_position(planar, toy.obs["growth"])
    limit = np.percentile(np.abs(rate), 99)
    np.testing.assert_allclose(color, GROWTH_MAP((rate / limit + 1) / 2), atol=1e-6)
    bar = ax.figure.axes[1]
    low, high = bar.get_ylim()
    assert low == pytest.approx(-high)
    assert bar.get_ylabel() == "growth per unit of time"


def test_growth_of_zero_shows_on_a_white_page():
    shades = GROWTH_MAP(np.linspace(0, 1, 101))[:, :3]
    brightness = shades @ [0.299, 0.587, 0.114]
    assert brightness.max() <= 0.85 + 1e-6
    assert np.ptp(shades[50]) < 0.01
    ends = plt.get_cmap("PuOr_r")([0.0, 1.0])[:, :3]
    np.testing.assert_allclose(shades[[0, -1]], ends, atol=1e-6)
    # no step where the darkening begins
    assert np.abs(np.diff(shades, axis=0)).max() < 0.06


@pytest.mark.parametrize(
    ("time", "text"),
    [(1 / 3, "0.333"), (2.0, "2"), (12.25, "12.25"), (10.5003, "10.5"), (1500.0, "1500")],
)
def test_times_are_written_short(time, text):
    assert time_text(time) == text


def test_growth_of_another_basis_needs_no_velocity(toy):
    ax = pl.growth(toy, basis="umap", vmax=2.0, colorbar=False, show=False)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("UMAP1", "UMAP2")
    assert ax.figure.axes == [ax]
    rate = by_position(toy.obsm["X_umap"], toy.obs["growth"])
    expected = GROWTH_MAP((rate / 2 + 1) / 2)
    np.testing.assert_allclose(drawn_cells(ax)[1], expected, atol=1e-6)


def test_growth_that_was_not_learned(toy):
    del toy.obs["growth"]
    with pytest.raises(KeyError, match="learns growth"):
        pl.growth(toy, show=False)


def test_smoothing_does_not_depend_on_units(rng):
    x = rng.normal(size=(300, 2))
    v = rng.normal(size=(300, 2))
    one, other = (
        smooth_on_grid(x * k, v * k, n_grid=12, smooth=0.1, min_cells=3)
        for k in (np.ones(2), np.array([10.0, 0.1]))
    )
    np.testing.assert_array_equal(one.u.mask, other.u.mask)
    np.testing.assert_allclose(other.u, one.u * 10)
    np.testing.assert_allclose(other.v, one.v * 0.1)


def test_smoothing_a_linear_field_keeps_it_inside(rng):
    x = rng.uniform(-1, 1, (4000, 2))
    grid = smooth_on_grid(x, x @ np.array([[0, 1], [-1, 0]]), n_grid=21, smooth=0.03, min_cells=0)
    y, u = grid.y[3:-3, None], grid.u[3:-3, 3:-3]
    np.testing.assert_allclose(u, np.broadcast_to(-y, u.shape), atol=0.05)
    assert not np.ma.getmaskarray(grid.u).any()


def test_smoothing_one_cell():
    grid = smooth_on_grid(np.zeros((1, 2)), np.ones((1, 2)), n_grid=5, smooth=0.1, min_cells=3)
    assert np.ma.count(grid.u) >= 1
    np.testing.assert_allclose(grid.u.compressed(), 1.0)
