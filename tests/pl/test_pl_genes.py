"""Pictures of driver genes and of regulation show the numbers that are stored."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex, to_rgba
from matplotlib.patches import FancyArrowPatch
from scipy.sparse import csr_matrix

from scruot import get, pl, tl


@pytest.fixture
def fated(rng):
    """Return 200 cells and 30 genes; gene 3 goes with A, gene 7 with B, more weakly gene 9."""
    n, p = 200, 30
    fate = rng.uniform(size=n)
    x = rng.normal(size=(n, p))
    x[:, 3] += 4 * fate
    x[:, 7] -= 4 * fate
    x[:, 9] -= 2 * fate
    x[:, 20] = 1.0
    adata = AnnData(x, var=pd.DataFrame(index=[f"g{i}" for i in range(p)]))
    table = pd.DataFrame({"A": fate, "B": 1 - fate, "none of these": 0.0}, index=adata.obs_names)
    adata.obsm["fate_probabilities"] = table
    adata.obs["fate"] = pd.Categorical(np.where(fate > 0.5, "A", "B"))
    adata.uns["fate_colors"] = ["#123456", "#abcdef"]
    tl.driver_genes(adata)
    return adata


def labels(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def dots(ax, *, filled):
    """Return the places of dots, and their colour."""
    for line in ax.lines:
        if line.get_marker() == "o" and (line.get_markerfacecolor() == "white") != filled:
            return line.get_xdata(), line.get_ydata(), to_hex(line.get_markeredgecolor())
    return pytest.fail("no dots")


def test_driver_genes_are_ranked_with_their_intervals(fated):
    axes = pl.driver_genes(fated, n_genes=6, show=False)
    assert [ax.get_title() for ax in axes] == ["A", "B"]
    for ax, fate, color in zip(axes, "AB", ("#123456", "#abcdef"), strict=True):
        table = get.driver_genes_df(fated, fate).iloc[:6]
        assert labels(ax) == list(table.index)
        ends = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])
        np.testing.assert_allclose(ends, table[["ci_low", "ci_high"]])
        for filled in (True, False):
            part = table[(table["qval"] <= 0.05) == filled]
            x, y, drawn = dots(ax, filled=filled)
            np.testing.assert_allclose(x, part["corr"])
            assert list(table.index[y]) == list(part.index)
            assert drawn == color
        assert len(dots(ax, filled=False)[0]) > 0
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]
    assert "q > 0.05" in {text.get_text() for text in axes[1].get_legend().get_texts()}


def test_driver_genes_in_other_orders_and_by_name(fated):
    table = fated.varm["driver_genes"]["B_corr"]
    low = pl.driver_genes(fated, "B", n_genes=2, order="negative", show=False)
    assert labels(low) == list(table.nsmallest(2).index)
    both = pl.driver_genes(fated, "B", n_genes=3, order="both", show=False)
    assert labels(both) == list(table.abs().nlargest(3).index)
    assert "g3" in labels(both)
    named = pl.driver_genes(fated, ["B"], genes=["g9", "g3"], show=False)
    assert labels(named[0]) == ["g9", "g3"]
    few = pl.driver_genes(fated, "A", n_genes=1, fdr=1e-3, show=False)
    assert len(dots(few, filled=True)[0]) == 1
    assert few.get_legend() is None


def test_a_fate_keeps_its_colour_when_drawn_alone(fated):
    del fated.uns["fate_colors"]
    both = pl.driver_genes(fated, show=False)
    alone = pl.driver_genes(fated, "B", show=False)
    assert dots(alone, filled=True)[2] == dots(both[1], filled=True)[2]
    assert dots(alone, filled=True)[2] != dots(both[0], filled=True)[2]


def test_none_of_these_is_grey(fated):
    none = np.linspace(0, 1, fated.n_obs)
    fated.obsm["fate_probabilities"]["none of these"] = none
    tl.driver_genes(fated, ["none of these", "B"])
    axes = pl.driver_genes(fated, show=False)
    assert [ax.get_title() for ax in axes] == ["none of these", "B"]
    assert dots(axes[0], filled=False)[2] == "#bbbbbb"
    assert dots(axes[1], filled=True)[2] == "#abcdef"


def test_a_fate_that_does_not_vary_has_no_panel(fated):
    fated.obsm["fate_probabilities"]["C"] = 0.0
    tl.driver_genes(fated)
    assert len(pl.driver_genes(fated, show=False)) == 2
    plt.close("all")
    with pytest.raises(ValueError, match="no correlation of any gene with C"):
        pl.driver_genes(fated, ["A", "C"], show=False)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"fates": "a"}, KeyError, "Did you mean 'A'"),
        ({"fates": []}, ValueError, "fates="),
        ({"genes": ["g99"]}, KeyError, "Unknown gene 'g99'"),
        ({"genes": ["g20"]}, ValueError, "no correlation of g20"),
        ({"genes": []}, ValueError, "at least one gene"),
        ({"n_genes": 0}, ValueError, "n_genes=0"),
        ({"order": "best"}, ValueError, "Unknown order"),
        ({"key": "alt"}, KeyError, r"scruot\.tl\.driver_genes\(adata\)"),
    ],
)
def test_bad_input_for_driver_genes(fated, arguments, error, says):
    with pytest.raises(error, match=says):
        pl.driver_genes(fated, show=False, **arguments)
    assert plt.get_fignums() == []


def test_driver_genes_with_a_key_of_their_own(fated):
    fated.varm["alt_driver_genes"] = fated.varm.pop("driver_genes")
    fated.obsm["alt_fate_probabilities"] = fated.obsm.pop("fate_probabilities")
    assert len(pl.driver_genes(fated, key="alt", show=False)) == 2
    with pytest.raises(KeyError, match="Did you mean 'alt_driver_genes'"):
        pl.driver_genes(fated, key="alt2", show=False)


@pytest.fixture
def network(toy):
    """Return a network of four genes in two groups; a group without cells comes last."""
    effect = np.array([[-9, 0, 2, 0], [-1, 0, 0, 0.5], [0, 0, 4, 0], [1e-4, -3, 0, -1.0]])
    entry = toy.uns["regulatory_jacobian"]
    entry["genes"] = np.array(list("abcd"), dtype=object)
    entry["groups"] = np.array(["early", "late", "empty"], dtype=object)
    empty = csr_matrix(np.full((4, 4), np.nan))
    entry["matrices"] = {"0": csr_matrix(effect), "1": csr_matrix(2 * effect), "2": empty}
    return toy


def blank(rgba):
    """Tell entries that were not kept."""
    return np.isclose(rgba, to_rgba("0.9")).all(axis=-1)


def test_heatmap_shows_signs_and_tells_zero_from_not_kept(network):
    entry = network.uns["regulatory_jacobian"]
    entry["matrices"]["0"][3, 3] = 0.0  # kept, and zero
    axes = pl.regulatory_jacobian(network, show=False)
    assert [ax.get_title() for ax in axes] == ["early", "late"]
    for ax, scale in zip(axes, (1, 2), strict=True):
        rgba, stored = ax.images[0].get_array(), entry["matrices"][str(scale - 1)]
        kept = np.zeros((4, 4), dtype=bool)
        kept[stored.nonzero()] = True
        kept[3, 3] = True
        np.testing.assert_array_equal(blank(rgba), ~kept)
        red, blue = rgba[..., 0], rgba[..., 2]
        clear = np.abs(stored.toarray()) > 0.1
        np.testing.assert_array_equal((red > blue)[clear], (stored.toarray() > 0)[clear])
    # the largest between two genes, 6, is the end of the scale; decay lies beyond it
    bar = next(ax for ax in axes[0].figure.axes if ax.get_ylabel() == "derivative per unit of time")
    assert bar.get_ylim()[0] == pytest.approx(-6)
    zero = axes[0].images[0].get_array()[3, 3]
    np.testing.assert_allclose(zero, plt.get_cmap("RdBu_r")(0.5))
    texts = {text.get_text() for text in axes[0].texts}
    assert {"−9.00", "0.50"} <= texts
    assert [t.get_text() for t in axes[0].get_xticklabels()] == list("abcd")
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("regulator", "regulated gene")


def test_what_cannot_be_told_from_zero_is_white_and_no_arrow(network):
    entry = network.uns["regulatory_jacobian"]
    entry["n_models"] = 10
    entry["errors"] = {k: abs(m).copy() for k, m in entry["matrices"].items()}
    for errors in entry["errors"].values():
        errors.data[:] = 0.1
    entry["errors"]["0"][3, 1] = 9.0  # as large as three times the estimate
    ax = pl.regulatory_jacobian(network, "early", show=False)
    white = np.isclose(ax.images[0].get_array(), plt.get_cmap("RdBu_r")(0.5)).all(axis=-1)
    assert white[3, 1]
    assert not white[0, 2]
    assert "−3.00" in {text.get_text() for text in ax.texts}
    signs = [
        a
        for a, _, _ in arrows(pl.regulatory_jacobian(network, "early", kind="network", show=False))
    ]
    # left: a and c by themselves, d by itself, c to a, a to b, d to b
    assert sorted(signs) == [False, False, False, True, True, True]


def test_the_strongest_genes_and_genes_by_name(network):
    ax = pl.regulatory_jacobian(network, "early", n_genes=2, show=False)
    # sums of derivatives between different genes: a 3.0001, b 4.5, c 2, d 3.5001
    assert labels(ax) == ["b", "d"]
    ax = pl.regulatory_jacobian(network, "early", genes=["c", "a"], numbers=True, show=False)
    assert labels(ax) == ["c", "a"]
    assert ax.texts[0].get_text() == "4.00"
    assert not pl.regulatory_jacobian(network, "early", numbers=False, show=False).texts


def arrows(ax):
    """Return whether each arrow activates, with its two ends in the plane, or a loop's middle."""
    found = []
    for patch in ax.patches:
        assert isinstance(patch, FancyArrowPatch)
        activates = patch.get_arrowstyle().__class__.__name__ == "CurveFilledB"
        red, _, blue, _ = patch.get_edgecolor()
        assert (red > blue) == activates
        found.append((activates, patch, patch.get_linewidth()))
    return found


def test_network_draws_signed_arrows_from_regulators_and_loops(network):
    ax = pl.regulatory_jacobian(network, "early", kind="network", show=False)
    angle = np.pi / 2 - np.pi / 2 * np.arange(4)
    node = np.column_stack([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(ax.collections[0].get_offsets(), node, atol=1e-12)
    edges, loops, widths = set(), set(), {}
    for activates, patch, width in arrows(ax):
        if patch._posA_posB is None:
            middle = patch._path_original.vertices.mean(axis=0)
            k = int(np.argmin(np.linalg.norm(node - middle, axis=1)))
            # outside the circle, near its node
            assert np.linalg.norm(middle) > 1
            loops.add((k, activates))
            continue
        ends = [int(np.argmin(np.linalg.norm(node - p, axis=1))) for p in patch._posA_posB]
        edges.add((*ends, activates))
        widths[tuple(ends)] = width
    # from regulator to regulated gene; 1e-4 is nothing beside 3
    assert edges == {(2, 0, True), (0, 1, False), (3, 1, True), (1, 3, False)}
    assert loops == {(0, False), (2, True), (3, False)}
    assert widths[1, 3] > widths[2, 0] > widths[0, 1] > widths[3, 1]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["activates", "represses"]
    assert [text.get_text() for text in ax.texts] == list("abcd")


def test_the_strongest_edges_of_a_network(network):
    ax = pl.regulatory_jacobian(network, "early", kind="network", n_edges=1, show=False)
    drawn = [patch for _, patch, _ in arrows(ax) if patch._posA_posB is not None]
    assert len(drawn) == 1
    assert len(arrows(ax)) == 4


def test_names_of_a_network_lie_inside_the_figure(network):
    network.uns["regulatory_jacobian"]["genes"] = np.array(
        ["Tcfap2a", "Hsp90ab1", "Creb3l2", "1810011O10Rik"], dtype=object
    )
    figure = pl.regulatory_jacobian(network, kind="network", show=False)[0].figure
    figure.canvas.draw()
    for ax in figure.axes:
        box = ax.get_tightbbox()
        assert box.x0 >= figure.bbox.x0 - 1
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y0 >= figure.bbox.y0 - 1
        assert box.y1 <= figure.bbox.y1 + 1


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"kind": "netwerk"}, ValueError, "Did you mean 'network'"),
        ({"groups": "earl"}, KeyError, "Did you mean 'early'"),
        ({"groups": "empty"}, ValueError, "no cells in the groups"),
        ({"groups": 2.0}, KeyError, "Unknown group '2'"),
        ({"groups": []}, ValueError, "expected some of"),
        ({"genes": ["e"]}, KeyError, "Unknown gene 'e'"),
        ({"n_genes": 2.5}, ValueError, "n_genes=2.5"),
        ({"n_edges": 0}, ValueError, "n_edges=0"),
        ({"vmax": -1.0}, ValueError, "vmax=-1.0"),
    ],
)
def test_bad_input_for_the_network(network, arguments, error, says):
    with pytest.raises(error, match=says):
        pl.regulatory_jacobian(network, show=False, **arguments)
    assert plt.get_fignums() == []
