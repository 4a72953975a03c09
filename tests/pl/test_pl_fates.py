"""Pictures of fates show the numbers that are stored."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from scruot import pl


def test_a_map_puts_sure_cells_into_corners_and_others_between(toy):
    ax = pl.fate_map(toy, show=False)
    dots = ax.collections[-1].get_offsets()
    p = toy.obsm["fate_probabilities"].dropna().to_numpy()
    assert len(dots) == len(p)
    angle = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
    corners = np.column_stack([np.cos(angle), np.sin(angle)])
    expected = p @ corners
    np.testing.assert_allclose(np.sort(dots[:, 0]), np.sort(expected[:, 0]), atol=1e-12)
    assert {text.get_text() for text in ax.texts} == {"low", "high", "top"}
    with pytest.raises(ValueError, match="three corners"):
        pl.fate_map(toy, fates=["low", "high"])
    with pytest.raises(ValueError, match="lou"):
        pl.fate_map(toy, fates=["low", "high", "lou"])


def test_bars_add_up_to_one_and_stand_at_their_times(toy):
    toy.obs.loc[(toy.obs["branch"] == "upper") & (toy.obs["time"] < 1), "branch"] = "lower"
    axes = pl.fate_bars(toy, "branch", show=False)
    assert [ax.get_title() for ax in axes] == ["lower", "upper"]
    for ax, first in zip(axes, (0, 1), strict=True):
        tops = {}
        for bar in ax.patches:
            x = round(bar.get_x() + bar.get_width() / 2)
            tops[x] = max(tops.get(x, 0), bar.get_y() + bar.get_height())
        assert min(tops) == first
        np.testing.assert_allclose(list(tops.values()), 1.0)
    labels = [text.get_text() for text in axes[0].get_xticklabels()]
    assert labels == ["0", "1", "2", "4"]


def test_probabilities_have_a_panel_each_and_cells_without_a_fate_are_grey(toy):
    axes = pl.fate_probabilities(toy, "umap", show=False)
    assert [ax.get_title() for ax in axes] == ["low", "high", "top"]
    grey, coloured = axes[0].collections
    assert len(grey.get_offsets()) == 5
    assert len(coloured.get_offsets()) == toy.n_obs - 5
    assert grey.get_sizes() == coloured.get_sizes()
    with pytest.raises(KeyError, match="umap"):
        pl.fate_probabilities(toy, "umop")


def test_one_fate_may_be_named_without_a_list(toy):
    axes = pl.fate_probabilities(toy, fates="high", show=False)
    assert [ax.get_title() for ax in np.atleast_1d(axes)] == ["high"]
    with pytest.raises(ValueError, match="three corners"):
        pl.fate_map(toy, fates="high")


def test_a_reliability_diagram_says_the_skill_and_what_is_missing(toy):
    ax = pl.fate_calibration(toy, show=False)
    assert ax.get_title() == "skill 0.80"
    del toy.uns["fate_calibration"]
    with pytest.raises(KeyError, match=r"tl\.fate_calibration"):
        pl.fate_calibration(toy)
    del toy.uns["fates"]
    for draw in (pl.fate_map, pl.fate_bars, pl.fate_probabilities):
        with pytest.raises(KeyError, match=r"tl\.fate_probabilities"):
            draw(toy)
    plt.close("all")
