"""Trajectories, populations, quality of the fit and losses."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgba

from scruot import pl
from scruot.pl._colors import GROWTH_MAP, OKABE_ITO, category_colors


def lines_of(ax):
    (found,) = [artist for artist in ax.collections if isinstance(artist, LineCollection)]
    return found


def dots_of(ax, label):
    (found,) = [
        artist
        for artist in ax.collections
        if isinstance(artist, PathCollection) and artist.get_label() == label
    ]
    return found


def as_set(points):
    return {tuple(point) for point in np.round(np.asarray(points, dtype=float), 5).tolist()}


# --- trajectories ---------------------------------------------------------------------------------


def test_trajectories_join_each_path_from_start_to_end(toy, simulation):
    ax = pl.trajectories(toy, simulation, show=False)
    segments = np.asarray(lines_of(ax).get_segments())
    assert len(segments) == 12 * 8
    x = simulation.obsm["X_pca"][:, :2].reshape(9, 12, 2)
    expected = np.stack([x[:-1], x[1:]], axis=2).reshape(-1, 4)
    assert as_set(segments.reshape(-1, 4)) == as_set(expected)
    assert as_set(dots_of(ax, "start").get_offsets()) == as_set(x[0])
    assert as_set(dots_of(ax, "end").get_offsets()) == as_set(x[-1])
    cells = [artist for artist in ax.collections if len(artist.get_offsets()) == toy.n_obs]
    assert len(cells) == 1


def test_trajectories_do_not_depend_on_the_order_of_rows(toy, simulation, rng):
    shuffled = simulation[rng.permutation(simulation.n_obs)].copy()
    first, second = (
        np.asarray(lines_of(pl.trajectories(toy, s, show=False)).get_segments())
        for s in (simulation, shuffled)
    )
    np.testing.assert_array_equal(first, second)


def test_trajectories_of_a_backward_simulation_begin_late(toy, simulation):
    simulation.uns["simulation"]["direction"] = "backward"
    ax = pl.trajectories(toy, simulation, show=False)
    last = simulation.obsm["X_pca"][simulation.obs["time"] == 4, :2]
    assert as_set(dots_of(ax, "start").get_offsets()) == as_set(last)


def test_trajectories_are_coloured_by_time(toy, simulation):
    ax = pl.trajectories(toy, simulation, show=False)
    colors = lines_of(ax).get_colors()
    expected = plt.get_cmap("viridis")(np.linspace(0, 1, 9)[1:])
    assert as_set(colors[:, :3]) == as_set(expected[:, :3])
    assert ax.figure.axes[1].get_ylabel() == "time"


def test_trajectories_are_coloured_by_relative_weight(toy, simulation):
    ax = pl.trajectories(toy, simulation, color="weight", show=False)
    ends = dots_of(ax, "end")
    upper = np.asarray(ends.get_offsets())[:, 1] > 0
    low, high = GROWTH_MAP([0.0, 1.0])
    np.testing.assert_allclose(ends.get_facecolors()[upper], np.tile(high, (6, 1)), atol=0.02)
    np.testing.assert_allclose(ends.get_facecolors()[~upper], np.tile(low, (6, 1)), atol=0.02)
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "weight relative to start"
    assert np.prod(bar.get_ylim()) == pytest.approx(1.0)
    assert "1" in [t.get_text() for t in bar.get_yticklabels()]


def test_a_lost_lineage_is_drawn(toy, simulation):
    late = (simulation.obs["trajectory"] == 0) & (simulation.obs["time"] > 2)
    simulation.obs.loc[late, "weight"] = 0.0
    ax = pl.trajectories(toy, simulation, color="weight", show=False)
    assert np.isfinite(lines_of(ax).get_colors()).all()


def test_few_trajectories_are_drawn_whole(toy, simulation):
    ax = pl.trajectories(toy, simulation, n_trajectories=3, show=False)
    assert len(lines_of(ax).get_segments()) == 3 * 8
    assert len(dots_of(ax, "start").get_offsets()) == 3


def test_trajectories_in_another_basis_follow_the_neighbours(toy, simulation):
    # The toy's UMAP swaps two coordinates, so the true place is known.
    ax = pl.trajectories(toy, simulation, basis="umap", n_neighbors=5, show=False)
    assert ax.get_xlabel() == "UMAP1"
    truth = simulation.obsm["X_pca"][simulation.obs["time"] == 4][:, [1, 0]]
    ends = np.asarray(dots_of(ax, "end").get_offsets())
    assert np.abs(np.sort(ends, axis=0) - np.sort(truth, axis=0)).max() < 0.35
    # A basis that the simulation has itself is taken as it is.
    simulation.obsm["X_umap"] = simulation.obsm["X_pca"][:, :2] + 100
    ends = dots_of(pl.trajectories(toy, simulation, basis="umap", show=False), "end")
    assert np.min(ends.get_offsets()) > 90


def test_trajectories_need_a_simulation(toy, simulation):
    with pytest.raises(KeyError, match=r"tl\.simulate"):
        pl.trajectories(toy, toy, show=False)
    with pytest.raises(KeyError, match="Did you mean 'weight'"):
        pl.trajectories(toy, simulation, color="weights", show=False)
    with pytest.raises(KeyError, match="groupby="):
        pl.trajectories(toy, simulation, color="fate", show=False)


@pytest.mark.parametrize("holder", ["simulation", "cells", "nobody"])
def test_trajectories_are_coloured_by_fate(toy, simulation, holder):
    simulation.obs["fate"] = pd.Categorical(
        np.where(simulation.obs["trajectory"] < 6, "down", "up"), ["nowhere", "down", "up"]
    )
    expected = [to_hex(color) for color in OKABE_ITO[1:3]]
    if holder != "nobody":
        expected = ["#00ff00", "#0000ff"]
        of = simulation if holder == "simulation" else toy
        of.uns["fate_colors"] = ["#ff0000", *expected]
    ax = pl.trajectories(toy, simulation, color="fate", show=False)
    ends = dots_of(ax, "end")
    upper = np.asarray(ends.get_offsets())[:, 1] > 0
    assert {to_hex(c) for c in ends.get_facecolors()[~upper]} == {expected[0]}
    assert {to_hex(c) for c in ends.get_facecolors()[upper]} == {expected[1]}
    assert {to_hex(c) for c in lines_of(ax).get_colors()} == set(expected)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["down", "up"]


def test_trajectories_are_coloured_by_a_gene_and_by_numbers(toy, simulation):
    simulation.X[:, 0] = simulation.obs["time"]
    simulation.var_names = ["gene"]
    simulation.obs["clock"] = 2 * simulation.obs["time"]
    by_time = lines_of(pl.trajectories(toy, simulation, show=False)).get_colors()
    for color in ("gene", "clock"):
        ax = pl.trajectories(toy, simulation, color=color, show=False)
        np.testing.assert_allclose(lines_of(ax).get_colors(), by_time)
        assert ax.figure.axes[1].get_ylabel() == color
    simulation.obs.loc[simulation.obs["time"] == 4, "clock"] = np.nan
    ax = pl.trajectories(toy, simulation, color="clock", show=False)
    gray = to_rgba("lightgray")
    assert {tuple(c) for c in dots_of(ax, "end").get_facecolors()} == {gray}


# --- populations ----------------------------------------------------------------------------------


def curves(ax):
    """Return predicted lines, and observed dots as (x, y, is filled)."""
    lines = [line for line in ax.lines if line.get_linestyle() == "-"]
    dots = {
        (x, y, to_hex(line.get_markerfacecolor()) != "#ffffff")
        for line in ax.lines
        if line.get_marker() == "o"
        for x, y in zip(*line.get_data(), strict=True)
    }
    return lines, dots


def test_mass_from_the_start(toy):
    ax = pl.mass(toy, show=False)
    (line,), dots = curves(ax)
    np.testing.assert_allclose(line.get_xdata(), [0, 1, 2, 4])
    np.testing.assert_allclose(line.get_ydata(), [1, 1.2 * 1.03, 1.5 * 1.03, 2 * 1.03])
    assert dots == {(0, 1, True), (1, 1.2, True), (2, 1.5, False), (4, 2, True)}
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "predicted",
        "observed",
        "held out",
    ]
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 2.06


def test_mass_without_a_held_out_time(toy):
    table = toy.uns["dynamics_evaluation"]["table"]
    table.loc[table["split"] == "held-out time", "split"] = "observed"
    ax = pl.mass(toy, log=True, show=False)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["predicted", "observed"]
    assert all(filled for *_, filled in curves(ax)[1])
    assert ax.get_yscale() == "log"


def test_mass_where_only_held_out_cells_are_compared(toy):
    table = toy.uns["dynamics_evaluation"]["table"]
    table = table[(table["time"] != 1) | (table["split"] == "held-out cells")].copy()
    # Beside the cells of the fit, those left out do not count.
    again = table[(table["time"] == 4) & (table["comparison"] == "model")].copy()
    again[["split", "mass"]] = ["held-out cells", 99.0]
    table.loc[table["time"] == 1, ["mass", "mass_observed"]] = [1.3, 1.2]
    toy.uns["dynamics_evaluation"]["table"] = pd.concat([again, table])
    (line,), _ = curves(pl.mass(toy, show=False))
    np.testing.assert_allclose(line.get_ydata(), [1, 1.3, 1.5 * 1.03, 2 * 1.03])


@pytest.mark.parametrize("stored", [True, False])
def test_mass_of_groups(toy, stored):
    colors = [to_hex(color) for color in OKABE_ITO[:2]]
    if stored:
        colors = ["#ff0000", "#00ff00"]
        toy.uns["branch_colors"] = colors
        toy.uns["dynamics_evaluation"]["groupby"] = "branch"
    ax = pl.mass(toy, groups=True, show=False)
    lines, dots = curves(ax)
    assert [to_hex(line.get_color()) for line in lines] == colors
    np.testing.assert_allclose(lines[0].get_ydata(), 0.3 * np.array([1.2, 1.5, 2.0]))
    np.testing.assert_allclose(lines[1].get_ydata(), 0.7 * np.array([1.2, 1.5, 2.0]))
    assert len(dots) == 6
    assert [t.get_text() for t in ax.get_legend().get_texts()][-2:] == ["lower", "upper"]


def test_mass_of_groups_that_were_not_evaluated(toy):
    del toy.uns["dynamics_evaluation"]["groups"]
    with pytest.raises(KeyError, match=r"tl\.evaluate\(adata, groupby=\.\.\.\)"):
        pl.mass(toy, groups=True, show=False)


def test_lineage_mass_draws_lines_bands_and_dots(toy):
    toy.uns["branch_colors"] = ["#ff0000", "#00ff00"]
    table = toy.uns["lineage_mass"]["table"]
    ax = pl.lineage_mass(toy, show=False)
    predicted = [line for line in ax.lines if len(line.get_xdata()) == 8]
    groups = (("lower", "#ff0000"), ("upper", "#00ff00"))
    for line, (name, color) in zip(predicted, groups, strict=True):
        np.testing.assert_allclose(line.get_ydata(), table.loc[table["group"] == name, "mass"])
        assert to_hex(line.get_color()) == color
    band = ax.collections[0].get_paths()[0].get_extents()
    low = table.loc[table["group"] == "lower"]
    assert band.y1 == pytest.approx((low["mass"] + 1.96 * low["mass_se"]).max())
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    x, y = np.asarray(dots[0].get_data(), dtype=float)
    np.testing.assert_allclose(x, [0, 1, 2, 4])
    np.testing.assert_allclose(y, 1.1 * predicted[0].get_ydata()[[0, 2, 4, 7]])
    assert [t.get_text() for t in ax.get_legend().get_texts()][2:] == ["lower", "upper"]


def test_lineage_mass_of_one_group_as_a_share(toy):
    ax = pl.lineage_mass(toy, groups=["upper"], share=True, show=False)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.7)
    assert ax.get_ylabel() == "share of the population"
    with pytest.raises(ValueError, match="Did you mean 'upper'"):
        pl.lineage_mass(toy, groups=["uper"], show=False)
    assert pl.lineage_mass(toy, log=True, show=False).get_yscale() == "log"


# --- perturbations --------------------------------------------------------------------------------


def test_perturbations_are_dots_that_are_filled_where_significant(toy):
    toy.uns["branch_colors"] = ["#ff0000", "#00ff00"]
    ax = pl.perturbation(toy, show=False)
    dots = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    found = {
        (
            to_hex(d.get_markeredgecolor()),
            d.get_markerfacecolor() == "white",
        ): d.get_xdata().tolist()
        for d in dots
    }
    assert found == {
        ("#ff0000", False): [-0.3],
        ("#ff0000", True): [-0.01],
        ("#00ff00", False): [0.3],
        ("#00ff00", True): [0.01],
    }
    bars = [artist for artist in ax.collections if isinstance(artist, LineCollection)]
    ends = bars[1].get_segments()[0][:, 0]
    np.testing.assert_allclose(ends, [0.3 - 1.96 * 0.02, 0.3 + 1.96 * 0.02])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Gata1 +1", "Spi1 -1"]


def test_perturbations_in_any_order_by_mass(toy):
    ax = pl.perturbation(toy, value="mass", perturbations=["Spi1 -1"], show=False)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Spi1 -1"]
    assert ax.get_xlabel() == "log2 fold change of mass"
    with pytest.raises(ValueError, match="Did you mean 'Spi1 -1'"):
        pl.perturbation(toy, perturbations=["Spi1-1"], show=False)
    with pytest.raises(ValueError, match="Did you mean 'share'"):
        pl.perturbation(toy, value="shares", show=False)


# --- genes ----------------------------------------------------------------------------------------


def test_gene_trends_draw_a_line_and_a_band_for_each_fate(toy):
    toy.uns["branch_colors"] = ["#ff0000", "#00ff00"]
    (ax,) = pl.gene_trends(toy, "Gata1", show=False)
    assert [to_hex(line.get_color()) for line in ax.lines] == ["#ff0000", "#00ff00"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), np.linspace(0, 4, 20))
    assert ax.collections[1].get_paths()[0].get_extents().y1 == pytest.approx(4.2)
    (legend,) = ax.figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["lower", "upper"]
    (ax,) = pl.gene_trends(toy, lineages=["upper"], show=False)
    assert len(ax.lines) == 1
    for wrong in ({"genes": ["Gata2"]}, {"lineages": ["uper"]}):
        with pytest.raises(ValueError, match="Did you mean"):
            pl.gene_trends(toy, **wrong, show=False)


# --- quality --------------------------------------------------------------------------------------


def test_fit_quality_sets_both_clouds_side_by_side(toy):
    axes = pl.fit_quality(toy, show=False)
    simulated = toy.uns["dynamics_evaluation"]["simulated"]
    for ax, time in zip(axes, [1.0, 2.0, 4.0], strict=True):
        seen = toy.obsm["X_pca"][(toy.obs["time"] == time).to_numpy(), :2]
        assert as_set(dots_of(ax, "observed").get_offsets()) == as_set(seen)
        dots = dots_of(ax, "simulated")
        now = simulated["time"] == time
        np.testing.assert_allclose(dots.get_offsets(), simulated["x"][now, :2])
        # The area of a dot is its weight.
        ratio = dots.get_sizes() / simulated["weight"][now]
        np.testing.assert_allclose(ratio, ratio[0])
    limits = {(ax.get_xlim(), ax.get_ylim()) for ax in axes}
    assert len(limits) == 1
    assert [ax.get_title() for ax in axes] == [
        "time 1\nW1 = 0.0800",
        "time 2, held out\nW1 = 0.120",
        "time 4\nW1 = 0.200",
    ]
    (legend,) = axes[0].figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["observed", "simulated"]


def test_fit_quality_of_one_time(toy):
    (ax,) = pl.fit_quality(toy, times=[2], show=False)
    assert ax.get_title().startswith("time 2")
    with pytest.raises(ValueError, match=r"times=\[3\]; expected some of \['1', '2', '4'\]"):
        pl.fit_quality(toy, times=[3], show=False)
    with pytest.raises(ValueError, match="Found 1 axes for 3 panels"):
        pl.fit_quality(toy, ax=plt.subplots()[1], show=False)


def test_panels_above_an_empty_place_name_their_axis(toy):
    axes = pl.fit_quality(toy, n_columns=2, show=False)
    assert [ax.get_xlabel() for ax in axes] == ["", "PCA1", "PCA1"]
    assert [ax.get_ylabel() for ax in axes] == ["PCA2", "", "PCA2"]


def test_fit_quality_in_rows(toy):
    axes = pl.fit_quality(toy, n_columns=2, show=False)
    assert axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 2)
    assert not axes[0].figure.axes[3].axison


def test_fit_quality_in_another_basis(toy):
    axes = pl.fit_quality(toy, "umap", n_neighbors=5, show=False)
    simulated = toy.uns["dynamics_evaluation"]["simulated"]
    truth = simulated["x"][simulated["time"] == 4][:, [1, 0]]
    found = np.asarray(dots_of(axes[2], "simulated").get_offsets())
    assert np.median(np.abs(found - truth)) < 0.15


def test_fit_quality_of_a_snapshot_seen_only_by_held_out_cells(toy):
    table = toy.uns["dynamics_evaluation"]["table"]
    keep = (table["time"] != 1) | (table["split"] == "held-out cells")
    toy.uns["dynamics_evaluation"]["table"] = table[keep]
    assert pl.fit_quality(toy, show=False)[0].get_title() == "time 1\nW1 = 9.00"


# --- losses ---------------------------------------------------------------------------------------


def test_loss_draws_every_term_that_is_on(toy):
    ax = pl.loss(toy, smooth=0, show=False)
    history = toy.uns["dynamics"]["history"]
    drawn = {line.get_label(): line for line in ax.lines}
    assert list(drawn) == ["loss", "validation", "velocity"]
    np.testing.assert_allclose(drawn["velocity"].get_ydata(), history["velocity"])
    np.testing.assert_allclose(drawn["velocity"].get_xdata(), history["step"])
    np.testing.assert_allclose(drawn["validation"].get_xdata(), history["validation_step"])
    assert ax.get_yscale() == "log"
    assert {t.get_text() for t in ax.get_legend().get_texts()} == set(drawn)


def test_loss_draws_a_running_mean_over_the_values(toy):
    ax = pl.loss(toy, smooth=0.05, show=False)
    history = toy.uns["dynamics"]["history"]["loss"]
    raw, mean = ax.lines[:2]
    np.testing.assert_allclose(raw.get_ydata(), history)
    assert mean.get_ydata()[100] == pytest.approx(history[95:106].mean())
    assert mean.get_ydata()[0] == pytest.approx(history[:6].mean())


def test_loss_without_steps_counts_them(toy):
    del toy.uns["dynamics"]["history"]["step"]
    ax = pl.loss(toy, smooth=0, show=False)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), np.arange(1, 201))


@pytest.mark.parametrize("history", [{}, {"step": np.arange(3), "loss": np.zeros(3)}])
def test_loss_of_a_method_without_training(toy, history):
    toy.uns["dynamics"]["history"] = history
    with pytest.raises(KeyError, match="no loss history"):
        pl.loss(toy, show=False)


# --- palettes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 8, 15, 40])
def test_categories_have_colours_of_their_own(n):
    colors = np.array([to_rgba(color) for color in category_colors(n)])
    apart = np.abs(colors[:, None] - colors[None]).max(-1) + np.eye(n)
    assert apart.min() > 0.02
