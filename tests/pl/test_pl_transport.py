"""Alluvial plots, transition tables, and lineages on an embedding."""

from itertools import combinations, pairwise

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.patches import PathPatch, Rectangle

from scruot import datasets, pl, tl
from scruot.pl._alluvial import layout, spread
from scruot.pl._colors import category_colors
from scruot.pl._figure import shortened

FLOW = ["start", "end", "source", "target", "mass", "mass_start"]


def table(rows, columns):
    return pd.DataFrame(rows, columns=columns)


def bars(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def bands(ax):
    return [patch for patch in ax.patches if isinstance(patch, PathPatch)]


def heights(band):
    """Return how thick a band is at its left and at its right edge."""
    vertices = band.get_path().vertices
    left, right = vertices[:, 0].min(), vertices[:, 0].max()
    return tuple(np.ptp(vertices[vertices[:, 0] == x, 1]) for x in (left, right))


def overlaps(boxes):
    return [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def text_boxes(ax):
    ax.figure.canvas.draw()
    return [text.get_window_extent() for text in ax.texts if text.get_text()]


# --- geometry of the alluvial plot ----------------------------------------------------------------


@pytest.fixture
def drawn():
    """Return stem and blood: of 10 stem cells 4 become 8 blood, 2 die, blood stays."""
    population = table(
        [(0.0, "stem", 10.0), (0.0, "blood", 30.0), (2.0, "stem", 4.0), (2.0, "blood", 40.0)],
        ["time", "group", "mass"],
    )
    flow = table(
        [
            (0.0, 2.0, "stem", "stem", 4.0, 4.0),
            (0.0, 2.0, "stem", "blood", 8.0, 4.0),
            (0.0, 2.0, "blood", "blood", 30.0, 30.0),
        ],
        FLOW,
    )
    return layout(population, flow, ["stem", "blood"], gap=0.1)


def test_bars_are_as_high_as_populations_and_centred(drawn):
    found = {(node.time, node.group): node.high - node.low for node in drawn.nodes}
    expected = {(0, "stem"): 0.25, (0, "blood"): 0.75, (2, "stem"): 0.1, (2, "blood"): 1.0}
    assert found == pytest.approx(expected)
    assert drawn.total == pytest.approx({0: 1, 2: 1.1})
    for time in (0, 2):
        column = [node for node in drawn.nodes if node.time == time]
        assert column[0].high == pytest.approx(-column[1].low)
        assert [node.group for node in column] == ["stem", "blood"]
        assert column[0].low - column[1].high == pytest.approx(0.11)


def test_ribbons_widen_with_growth_and_leave_deaths_and_births_bare(drawn):
    thick = {
        (ribbon.source, ribbon.target): (np.ptp(ribbon.left), np.ptp(ribbon.right))
        for ribbon in drawn.ribbons
    }
    assert thick["stem", "stem"] == pytest.approx((0.1, 0.1))
    assert thick["stem", "blood"] == pytest.approx((0.1, 0.2))
    stem = drawn.nodes[0]
    leaving = [ribbon.left for ribbon in drawn.ribbons if ribbon.source == "stem"]
    # of 10 cells 2 die: a tenth of the bar is bare at either end
    assert leaving[0] == pytest.approx((stem.middle, stem.high - 0.025))
    assert leaving[1] == pytest.approx((stem.low + 0.025, stem.middle))
    blood = drawn.nodes[3]
    arriving = [ribbon.right for ribbon in drawn.ribbons if ribbon.target == "blood"]
    assert arriving[0][1] == pytest.approx(blood.high - 0.025)
    assert arriving[0][0] == pytest.approx(arriving[1][1])


def test_ribbons_never_leave_their_bars():
    """A soft target marginal can bring more mass than there is."""
    population = table([(0.0, "a", 1.0), (1.0, "a", 2.0)], ["time", "group", "mass"])
    flow = table([(0.0, 1.0, "a", "a", 3.0, 1.0)], FLOW)
    (ribbon,) = layout(population, flow, ["a"], gap=0.0).ribbons
    assert ribbon.left == pytest.approx((-0.5, 0.5))
    assert ribbon.right == pytest.approx((-1.0, 1.0))


@given(st.lists(st.floats(-10, 10), max_size=12), st.floats(0.1, 3))
def test_names_are_moved_apart_in_order_and_as_little_as_needed(wanted, room):
    wanted = np.array(wanted)
    placed = spread(wanted, room)
    assert placed.shape == wanted.shape
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(placed[order]) >= room - 1e-9).all()
    if len(wanted):
        assert placed.mean() == pytest.approx(wanted.mean(), abs=1e-9)
    if (np.diff(wanted[order]) >= room).all():
        np.testing.assert_allclose(placed, wanted, atol=1e-9)


def test_two_names_at_one_place_share_the_way():
    np.testing.assert_allclose(spread(np.array([0.0, 0.0, 5.0]), 1.0), [-0.5, 0.5, 5.0])


# --- pl.transport ---------------------------------------------------------------------------------


def test_transport_draws_a_bar_per_group_and_time_and_a_band_per_flow(toy):
    toy.uns["branch_colors"] = ["#123456", "#fedcba"]
    ax = pl.transport(toy, show=False)
    assert len(bars(ax)) == 8
    assert len(bands(ax)) == 6
    population = toy.uns["transition_table"]["population"]
    first = population.loc[population["time"] == 0, "mass"].sum()
    found = sorted(bar.get_height() for bar in bars(ax))
    np.testing.assert_allclose(found, sorted(population["mass"] / first))
    assert {to_hex(bar.get_facecolor()) for bar in bars(ax)} == {"#123456", "#fedcba"}
    assert {to_hex(band.get_facecolor()) for band in bands(ax)} == {"#123456", "#fedcba"}
    flow = toy.uns["transition_table"]["flow"]
    expected = sorted(zip(flow["mass_start"] / first, flow["mass"] / first, strict=True))
    np.testing.assert_allclose(sorted(heights(band) for band in bands(ax)), expected)


def test_transport_names_groups_at_both_ends_and_tells_the_population(toy):
    ax = pl.transport(toy, show=False)
    texts = [text.get_text() for text in ax.texts]
    assert texts[:4] == ["lower", "upper", "lower", "upper"]
    population = toy.uns["transition_table"]["population"].groupby("time")["mass"].sum()
    shown = [float(text) for text in texts[4:]]
    np.testing.assert_allclose(shown, population / population.iloc[0], rtol=0.051)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2", "4"]
    plain = pl.transport(toy, population=False, show=False)
    assert len(plain.texts) == 4


def test_transport_draws_some_times_and_groups(toy):
    ax = pl.transport(toy, times=[1, 2], groups=["upper"], show=False)
    assert len(bars(ax)) == 2
    assert len(bands(ax)) == 1
    assert bars(ax)[0].get_height() == pytest.approx(1)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]
    upside = pl.transport(toy, groups=["upper", "lower"], show=False)
    assert upside.texts[0].get_text() == "upper"
    assert upside.texts[0].get_position()[1] > upside.texts[1].get_position()[1]
    # a group has its colour whatever else is drawn
    colors = category_colors(2)
    assert to_hex(bars(ax)[0].get_facecolor()) == to_hex(colors[1])


def test_transport_of_groups_that_come_late(toy):
    toy.obs["late"] = np.where(toy.obs["time"] >= 2, toy.obs["branch"].astype(str), "early")
    tl.transition_table(toy, "late")
    ax = pl.transport(toy, groups=["lower", "upper"], show=False)
    assert len(bars(ax)) == 4
    assert len(bands(ax)) == 2
    # relative to the first time at which there are any
    assert [text.get_text() for text in ax.texts][-2] == "1"
    assert len(ax.get_xticks()) == 4


def test_transport_leaves_out_thin_flows(toy):
    entry = toy.uns["transition_table"]
    entry["flow"].loc[len(entry["flow"])] = (0.0, 1.0, "lower", "upper", 0.1, 0.1)
    assert len(bands(pl.transport(toy, show=False))) == 6
    assert len(bands(pl.transport(toy, min_flow=0, show=False))) == 7


def test_transport_with_labelled_times(toy):
    toy.uns["transport"]["params"]["time_key"] = "day"
    ax = pl.transport(toy, times=["day 1", "day 2"], show=False)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["day 1", "day 2"]
    assert ax.get_xlabel() == "day"
    with pytest.raises(ValueError, match="Did you mean 'day 4'"):
        pl.transport(toy, times=["dya 4", "day 2"], show=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": ["uper"]}, "Unknown group 'uper'. Did you mean 'upper'"),
        ({"groups": []}, "no group in groups"),
        ({"times": [0, 3]}, r"times=\[3\]; expected some of"),
        ({"times": [0, 2]}, r"times=\['0', '2'\]; expected two or more consecutive"),
        ({"times": [4]}, r"times=\['4'\]; expected two or more consecutive"),
        ({"times": []}, r"times=\[\]"),
    ],
)
def test_transport_with_bad_input_draws_nothing(toy, wrong, message):
    with pytest.raises(ValueError, match=message):
        pl.transport(toy, show=False, **wrong)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("transport", "transition_table"), ("transition_table", "transition_table")],
)
def test_a_missing_table_names_the_remedy(toy, name, remedy):
    del toy.uns["transition_table"]
    with pytest.raises(KeyError, match=rf"scruot\.tl\.{remedy}\(adata, groupby=\.\.\.\)"):
        getattr(pl, name)(toy, show=False)


@pytest.fixture
def crowd(toy, rng):
    """Return the toy with 24 groups of very different size and long names."""
    sizes = rng.dirichlet(np.full(24, 0.3))
    chosen = rng.choice(24, toy.n_obs, p=sizes / sizes.sum())
    chosen[:24] = np.arange(24)
    names = [f"CD{i:02d}-positive, alpha-beta memory T cell of kind {i:02d}" for i in range(24)]
    toy.obs["type"] = pd.Categorical.from_codes(chosen, names)
    tl.transition_table(toy, "type")
    return toy


def test_names_of_many_small_groups_do_not_overlap(crowd):
    ax = pl.transport(crowd, population=False, show=False)
    boxes = text_boxes(ax)
    assert len(boxes) > 24
    assert overlaps(boxes) == []
    page = ax.figure.bbox
    assert all(box.x0 >= page.x0 and box.x1 <= page.x1 for box in boxes)
    for text in ax.texts:
        assert text.get_text().startswith("CD")
        assert text.get_text()[-2:].isdigit()
        assert len(text.get_text()) <= 28


def test_long_names_keep_both_ends():
    assert shortened("short") == "short"
    cut = shortened("CD4-positive, alpha-beta memory T cell")
    assert cut.startswith("CD4-pos")
    assert cut.endswith("y T cell")
    assert "…" in cut


def test_a_group_of_the_middle_is_named_where_it_is_largest(toy):
    entry = toy.uns["transition_table"]
    rows = [(1.0, "middle", 20.0), (2.0, "middle", 60.0)]
    extra = table(rows, ["time", "group", "mass"])
    entry["population"] = pd.concat([entry["population"], extra], ignore_index=True)
    ax = pl.transport(toy, show=False)
    (text,) = [text for text in ax.texts if text.get_text() == "middle"]
    assert 2 < text.get_position()[0] < 2.2


# --- pl.transition_table --------------------------------------------------------------------------


@pytest.fixture
def tabled(toy):
    entry = toy.uns["transition_table"]
    entry["forward"] = np.array([[0.996, 0.004], [np.nan, np.nan]])
    entry["mass"] = np.array([[150.0, 0.5], [0.0, 0.0]])
    return toy


def test_transition_table_writes_the_numbers_on_their_colours(tabled):
    ax = pl.transition_table(tabled, show=False)
    assert [text.get_text() for text in ax.texts] == ["1.00", "<.01"]
    assert [text.get_position() for text in ax.texts] == [(0, 0), (1, 0)]
    assert to_hex(ax.texts[0].get_color()) == "#ffffff"
    shown = ax.images[0].get_array()
    blues = plt.get_cmap("Blues")
    np.testing.assert_allclose(shown[0, 0], blues(0.996), atol=1e-6)
    np.testing.assert_allclose(shown[0, 1], blues(0.004), atol=1e-6)
    # without descendants there is no share: grey
    np.testing.assert_allclose(shown[1], [to_rgba("0.9")] * 2)
    assert ax.figure.axes[1].get_ylabel() == "share of the descendants"
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("branch at time 0", "branch at time 4")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["lower", "upper"]


def test_transition_table_of_masses(tabled):
    ax = pl.transition_table(tabled, values="mass", cmap="Greens", show=False)
    assert [text.get_text() for text in ax.texts] == ["150", "0.5", "0", "0"]
    np.testing.assert_allclose(ax.images[0].get_array()[0, 0], plt.get_cmap("Greens")(1.0))
    quiet = pl.transition_table(tabled, numbers=False, colorbar=False, show=False)
    assert not quiet.texts
    assert len(quiet.figure.axes) == 1
    with pytest.raises(ValueError, match="Did you mean 'backward'"):
        pl.transition_table(tabled, values="backwards", show=False)


def test_a_large_table_has_legible_names_and_no_numbers(crowd):
    ax = pl.transition_table(crowd, show=False)
    rows, columns = ax.images[0].get_array().shape[:2]
    assert bool(ax.texts) == (max(rows, columns) <= 20)
    ax.figure.canvas.draw()
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) > 5
        assert overlaps(boxes) == []


def test_numbers_fit_into_their_cells(crowd):
    ax = pl.transition_table(crowd, numbers=True, show=False)
    assert overlaps(text_boxes(ax)) == []


# --- pl.descendants and pl.ancestors --------------------------------------------------------------


def clouds(ax):
    found = [artist for artist in ax.collections if isinstance(artist, PathCollection)]
    return {artist.get_label(): artist for artist in found}


def test_each_panel_shows_one_time_over_grey_cells(toy):
    axes = pl.descendants(toy, show=False)
    assert [ax.get_title() for ax in axes] == ["time 1 (set)", "time 2", "time 4"]
    for ax, time in zip(axes, (1, 2, 4), strict=True):
        here = (toy.obs["time"] == time).to_numpy()
        cells = clouds(ax)["cells"]
        assert len(cells.get_offsets()) == here.sum()
        assert len(clouds(ax)["other cells"].get_offsets()) == (~here).sum()
        expected = {tuple(xy) for xy in np.round(toy.obsm["X_pca"][here, :2].astype(float), 4)}
        assert {tuple(xy) for xy in np.round(np.asarray(cells.get_offsets()), 4)} == expected
        upper = cells.get_offsets()[:, 1] > 1.5
        dark = plt.get_cmap("YlOrRd")(1.0)
        if upper.any():
            np.testing.assert_allclose(
                cells.get_facecolors()[upper], [dark] * upper.sum(), atol=0.01
            )
    assert axes[0].figure.axes[-1].get_ylabel() == "descendants"


def test_ancestors_end_with_the_set_and_large_values_lie_on_top(toy):
    axes = pl.ancestors(toy, show=False)
    assert [ax.get_title() for ax in axes] == ["time 0", "time 1", "time 2 (set)"]
    shade = np.asarray(clouds(axes[0])["cells"].get_facecolors())[:, :3].sum(axis=1)
    # darker is more; drawn last is on top
    assert (np.diff(shade) <= 1e-9).all()
    assert len(np.unique(np.round(shade, 6))) == 2


def test_lineages_at_chosen_times_in_another_basis(toy):
    toy.uns["transport"]["params"]["time_key"] = "day"
    (ax,) = pl.descendants(toy, "umap", times="day 2", show=False)
    assert ax.get_title() == "day 2"
    assert ax.get_xlabel() == "UMAP1"
    with pytest.raises(ValueError, match=r"times=\[0\]; expected some of \['day 1'"):
        pl.descendants(toy, times=[0], show=False)


def test_lineages_from_a_column_of_ones_own_with_a_scale_of_its_own(toy):
    toy.obs["mine"] = 5 * toy.obs["descendants"]
    axes = pl.descendants(toy, column="mine", show=False)
    assert axes[0].figure.axes[-1].get_ylim() == pytest.approx((0, 5))
    axes = pl.descendants(toy, column="mine", vmax=2, colorbar=False, show=False)
    assert len(axes[0].figure.axes) == 3
    with pytest.raises(
        KeyError, match=r"Did you mean 'mine'.*scruot\.tl\.descendants\(adata, source"
    ):
        pl.descendants(toy, column="mien", show=False)
    toy.obs["empty"] = np.nan
    with pytest.raises(ValueError, match="no number"):
        pl.ancestors(toy, column="empty", show=False)
    toy.uns["transport"]["params"] = {}
    with pytest.raises(ValueError, match=r"without a representation; name one of .'pca', 'umap'."):
        pl.descendants(toy, show=False)
    assert len(pl.descendants(toy, "pca", show=False)) == 3


def test_lineages_of_cells_in_another_order_or_fewer(toy, rng):
    part = toy[rng.permutation(toy.n_obs)[:300]].copy()
    axes = pl.descendants(part, show=False)
    drawn = [len(clouds(ax)["cells"].get_offsets()) for ax in axes]
    assert drawn == [int((part.obs["time"] == time).sum()) for time in (1, 2, 4)]


# --- what tl writes is what pl reads --------------------------------------------------------------


def test_pictures_of_a_computed_transport(toy):
    """Everything from tl on cells whose branches are known."""
    tl.transport(toy, "wfr", use_rep="X_pca", progress=False)
    tl.transition_table(toy, "branch")
    tl.descendants(toy, {"branch": "upper"}, source_time=2)
    tl.ancestors(toy, {"branch": "upper"}, target_time=4)
    ax = pl.transport(toy, show=False)
    first = (toy.obs["time"] == 0).sum()
    for time, place in zip((0, 1, 2, 4), range(4), strict=True):
        column = [bar.get_height() for bar in bars(ax) if abs(bar.get_x() - place) < 0.1]
        assert sum(column) == pytest.approx((toy.obs["time"] == time).sum() / first)
    left, right = np.array([heights(band) for band in bands(ax)]).T
    totals = [(toy.obs["time"] == t).sum() / first for t in (0, 1, 2, 4)]
    assert left.sum() == pytest.approx(sum(totals[:-1]), rel=0.05)
    assert right.sum() == pytest.approx(sum(totals[1:]), rel=0.05)
    assert len(pl.descendants(toy, show=False)) == 2
    assert len(pl.ancestors(toy, show=False)) == 4
    assert pl.transition_table(toy, show=False).has_data()
    assert all(a < b for a, b in pairwise(sorted(ax.get_xticks())))


def test_pictures_of_a_file_that_was_read_again(toy, tmp_path):
    tl.transport(toy, "wfr", use_rep="X_pca", progress=False)
    tl.transition_table(toy, "branch")
    tl.descendants(toy, {"branch": "upper"}, source_time=2)
    del toy.uns["dynamics"], toy.uns["dynamics_evaluation"]
    toy.write_h5ad(tmp_path / "cells.h5ad")
    for backed in (False, "r"):
        read = anndata.read_h5ad(tmp_path / "cells.h5ad", backed=backed)
        for name in ("transport", "transition_table"):
            before, after = (getattr(pl, name)(adata, show=False) for adata in (toy, read))
            written = [[text.get_text() for text in ax.texts] for ax in (before, after)]
            assert written[0] == written[1]
            assert len(before.patches) == len(after.patches)
        assert len(pl.descendants(read, show=False)) == 2


def test_groups_without_cells_at_the_times_drawn():
    adata = datasets.three_gene(30, random_state=0)
    tl.transport(adata, "wfr", use_rep="X_genes", progress=False)
    adata.obs["half"] = np.where(adata.obs["time"] < 3, "early", "late")
    tl.transition_table(adata, "half")
    with pytest.raises(ValueError, match="none of which has cells at the times"):
        pl.transport(adata, groups=["late"], times=[0, 1], show=False)
