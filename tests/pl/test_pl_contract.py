"""What every picture promises, whatever it shows."""

from functools import partial

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image
from scanpy import settings
from scipy.sparse import issparse

from scruot import pl


@pytest.fixture
def plots(toy, simulation):
    """Return every plotting function with its data filled in."""
    return {
        "velocity_stream": partial(pl.velocity_stream, toy),
        "velocity": partial(pl.velocity, toy),
        "growth": partial(pl.growth, toy),
        "potential": partial(pl.potential, toy),
        "landscape": partial(pl.landscape, toy, times=[0, 1, 4]),
        "trajectories": partial(pl.trajectories, toy, simulation),
        "mass": partial(pl.mass, toy),
        "fit_quality": partial(pl.fit_quality, toy),
        "loss": partial(pl.loss, toy),
        "lineage_mass": partial(pl.lineage_mass, toy),
        "perturbation": partial(pl.perturbation, toy),
        "displacement": partial(pl.displacement, toy, "0"),
        "displacement_genes": partial(pl.displacement_genes, toy, "upper, 0 to 1"),
        "sparsity_path": partial(pl.sparsity_path, toy),
        "driver_genes": partial(pl.driver_genes, toy, "high"),
        "regulatory_jacobian": partial(pl.regulatory_jacobian, toy, 0.0),
        "gene_trends": partial(pl.gene_trends, toy),
        "fate_probabilities": partial(pl.fate_probabilities, toy),
        "fate_map": partial(pl.fate_map, toy),
        "fate_bars": partial(pl.fate_bars, toy),
        "fate_calibration": partial(pl.fate_calibration, toy),
        "transport": partial(pl.transport, toy),
        "transition_table": partial(pl.transition_table, toy),
        "descendants": partial(pl.descendants, toy),
        "ancestors": partial(pl.ancestors, toy),
        "diagnose": partial(pl.diagnose, toy),
    }


OF_TRANSPORT = ["ancestors", "descendants", "transition_table", "transport"]
# what draws a table that a tool has left in uns
OF_DISPLACEMENT = ["displacement", "displacement_genes"]
OF_TABLES = ["gene_trends", "sparsity_path", "lineage_mass", "perturbation", "regulatory_jacobian"]
OF_FATES = ["driver_genes", "fate_bars", "fate_calibration", "fate_map", "fate_probabilities"]
OF_FITS = sorted(set(pl.__all__) - {*OF_TRANSPORT, *OF_TABLES, *OF_DISPLACEMENT, *OF_FATES})
OF_THREE = ("fit_quality", "ancestors", "descendants", "landscape", "fate_probabilities")
N_AXES = dict.fromkeys(OF_THREE, 3)
WIDTHS = {"diagnose": 7.0}  # sentences, as wide as a page


def dense(values):
    return values.toarray() if issparse(values) else values


def axes_of(drawn):
    return [drawn] if isinstance(drawn, Axes) else drawn


each = pytest.mark.parametrize("name", pl.__all__)
each_of_fits = pytest.mark.parametrize("name", OF_FITS)
each_of_tables = pytest.mark.parametrize("name", OF_TABLES)
each_of_transport = pytest.mark.parametrize("name", OF_TRANSPORT)


@each
def test_returns_axes_when_not_shown(plots, name, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown"))
    drawn = plots[name](show=False)
    assert len(plt.get_fignums()) == 1
    axes = axes_of(drawn)
    assert len(axes) == N_AXES.get(name, 1)
    assert all(ax.figure is plt.figure(plt.get_fignums()[0]) for ax in axes)


@each
def test_shows_when_asked_and_returns_nothing(plots, name, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    assert plots[name](show=True) is None
    assert shown == [1]


@each
def test_draws_into_given_axes_and_leaves_showing_to_their_owner(plots, name, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown"))
    n = N_AXES.get(name, 1)
    figure, grid = plt.subplots(1, n + 1)
    given = list(grid[:n])
    drawn = plots[name](ax=given if n > 1 else given[0], title="A title")
    assert axes_of(drawn) == given
    assert plt.get_fignums() == [figure.number]
    assert not grid[n].has_data()
    assert given[0].has_data()
    assert given[0].get_title().startswith("A title")


@each
def test_saves_one_column_without_showing(plots, name, monkeypatch, tmp_path):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown"))
    path = tmp_path / "picture.png"
    assert plots[name](save=path) is not None
    with Image.open(path) as image:
        width = image.width
        assert np.asarray(image.convert("L")).std() > 0
    wide = 5.1 if name in N_AXES else WIDTHS.get(name, 3.3)
    assert width == pytest.approx(300 * wide, abs=2)


@pytest.fixture
def _keep_autoshow():
    before = settings.autoshow
    yield
    settings.autoshow = before


@pytest.mark.usefixtures("_keep_autoshow")
def test_asks_scanpy_whether_to_show(plots, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    settings.autoshow = False
    assert plots["loss"]() is not None
    assert shown == []
    settings.autoshow = True
    assert plots["loss"]() is None
    assert shown == [1]


@each
def test_touches_neither_settings_nor_data(plots, name, toy):
    before = dict(mpl.rcParams)
    obs, uns = toy.obs.copy(), {k: set(v) for k, v in toy.uns.items()}
    obsm = {k: v.copy() for k, v in toy.obsm.items()}
    plots[name](show=False)
    assert dict(mpl.rcParams) == before
    assert toy.obs.equals(obs)
    assert {k: set(v) for k, v in toy.uns.items()} == uns
    same = (np.array_equal(dense(toy.obsm[k]), dense(v), equal_nan=True) for k, v in obsm.items())
    assert all(same)


@each
def test_is_legible_in_one_column_also_with_small_defaults(plots, name):
    with mpl.rc_context({"font.size": 6}):
        drawn = plots[name](show=False)
        figure = axes_of(drawn)[0].figure
        figure.canvas.draw()
        texts = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
    assert texts
    assert min(text.get_fontsize() for text in texts) >= 7


@each
def test_every_label_lies_inside_the_figure(plots, name):
    figure = axes_of(plots[name](show=False))[0].figure
    figure.canvas.draw()
    page = figure.bbox
    for ax in figure.axes:
        box = ax.get_tightbbox()
        assert box.x0 >= page.x0 - 1
        assert box.y0 >= page.y0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y1 <= page.y1 + 1


@pytest.mark.parametrize("name", sorted(set(pl.__all__) - {"diagnose"}))  # it has no axis to label
def test_fonts_follow_the_user(plots, name):
    with mpl.rc_context({"font.size": 20}):
        ax = axes_of(plots[name](show=False))[0]
    assert ax.yaxis.label.get_fontsize() == pytest.approx(17)


@each_of_fits
def test_a_missing_fit_names_the_remedy(plots, name, toy):
    del toy.uns["dynamics"]
    with pytest.raises(KeyError, match="fit_dynamics"):
        plots[name](show=False)
    assert plt.get_fignums() == []


@each_of_fits
def test_a_fit_with_a_key_of_its_own(plots, name, toy):
    toy.uns["alt"] = toy.uns.pop("dynamics")
    toy.uns["alt_evaluation"] = toy.uns.pop("dynamics_evaluation")
    toy.obsm["alt_velocity_pca"] = toy.obsm.pop("velocity_pca")
    toy.obs["alt_growth"] = toy.obs.pop("growth")
    toy.obs["alt_potential"] = toy.obs.pop("potential")
    toy.uns["alt_landscape"] = toy.uns.pop("landscape")
    toy.uns["alt_diagnosis"] = toy.uns.pop("dynamics_diagnosis")
    drawn = plots[name](key="alt", show=False)
    assert axes_of(drawn)[0].has_data()


@each_of_tables
def test_a_missing_table_names_the_remedy(plots, name, toy):
    del toy.uns[name]
    with pytest.raises(KeyError, match=rf"scruot\.tl\.{name}\(adata"):
        plots[name](show=False)
    assert plt.get_fignums() == []


@each_of_tables
def test_a_table_with_a_key_of_its_own(plots, name, toy):
    toy.uns[f"alt_{name}"] = toy.uns.pop(name)
    drawn = plots[name](key="alt", show=False)
    assert axes_of(drawn)[0].has_data()
    with pytest.raises(KeyError, match=f"Did you mean 'alt_{name}'"):
        plots[name](key="alt2", show=False)


@pytest.mark.parametrize("name", OF_DISPLACEMENT)
def test_a_missing_displacement_names_the_remedy(plots, name, toy):
    toy.uns["alt_displacement_genes"] = toy.uns.pop("displacement_genes")
    with pytest.raises(KeyError, match=r"scruot\.tl\.sparse_displacement\(adata\)"):
        plots[name](show=False)
    with pytest.raises(KeyError, match="Did you mean 'alt_displacement_genes'"):
        plots[name](key="alt2", show=False)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda toy: pl.displacement(toy, []),
        lambda toy: pl.displacement_genes(toy, []),
        lambda toy: pl.displacement_genes(toy, genes=[]),
        lambda toy: pl.displacement_genes(toy, n_genes=0),
        lambda toy: pl.fate_bars(toy, "branch", groups=[]),
        lambda toy: pl.fate_probabilities(toy, fates=[]),
        lambda toy: pl.gene_trends(toy, []),
    ],
)
def test_nothing_to_draw_is_said(toy, draw):
    with pytest.raises(ValueError, match=r"expected (at least one|some of)"):
        draw(toy)
    assert plt.get_fignums() == []


@each_of_transport
def test_a_missing_transport_names_the_remedy(plots, name, toy):
    del toy.uns["transport"], toy.uns["transition_table"]
    with pytest.raises(KeyError, match=r"scruot\.tl\.transport\(adata\)"):
        plots[name](show=False)
    assert plt.get_fignums() == []


@each_of_transport
def test_a_transport_with_a_key_of_its_own(plots, name, toy):
    for slot in ("transition_table", "transport"):
        toy.uns["alt" if slot == "transport" else f"alt_{slot}"] = toy.uns.pop(slot)
    for column in ("descendants", "ancestors"):
        toy.obs[f"alt_{column}"] = toy.obs.pop(column)
    drawn = plots[name](key="alt", show=False)
    assert axes_of(drawn)[0].has_data()
    del toy.uns["alt_transition_table"], toy.obs["alt_descendants"], toy.obs["alt_ancestors"]
    with pytest.raises(KeyError, match=r"key='alt'"):
        plots[name](key="alt", show=False)


@pytest.mark.parametrize("name", ["velocity_stream", "velocity"])
def test_a_basis_without_velocity_names_the_remedy(plots, name, toy):
    with pytest.raises(KeyError, match=r"scruot\.tl\.project_velocity\(adata, basis='umap'\)"):
        plots[name](basis="umap", show=False)
    assert plt.get_fignums() == []
    toy.uns["alt"] = toy.uns["dynamics"]
    with pytest.raises(KeyError, match=r"project_velocity\(adata, basis='umap', key='alt'\)"):
        plots[name](basis="X_umap", key="alt", show=False)


@pytest.mark.parametrize(
    "name",
    [
        "velocity_stream",
        "velocity",
        "growth",
        "potential",
        "trajectories",
        "descendants",
        "ancestors",
    ],
)
def test_an_unknown_basis_is_named(plots, name):
    with pytest.raises(KeyError, match="Did you mean 'umap'"):
        plots[name](basis="unap", show=False)


@pytest.mark.parametrize("name", ["mass", "fit_quality"])
def test_a_missing_evaluation_names_the_remedy(plots, name, toy):
    del toy.uns["dynamics_evaluation"]
    with pytest.raises(KeyError, match=r"scruot\.tl\.evaluate\(adata\)"):
        plots[name](show=False)


@pytest.mark.parametrize(
    "name",
    [
        "velocity_stream",
        "velocity",
        "growth",
        "potential",
        "fit_quality",
        "descendants",
        "ancestors",
    ],
)
def test_components_count_from_one(plots, name):
    ax = axes_of(plots[name](components=(1, 3), show=False))[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("PCA1", "PCA3")
    for wrong in [(0, 1), (1, 1), (1, 4), (1,)]:
        with pytest.raises(ValueError, match="from 1 to 3"):
            plots[name](components=wrong, show=False)
