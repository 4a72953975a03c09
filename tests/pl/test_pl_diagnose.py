"""The picture of a diagnosis."""

import matplotlib.pyplot as plt
import pytest

import scruot


@pytest.fixture
def diagnosed():
    adata = scruot.datasets.three_gene(60, random_state=0, n_times=3)
    scruot.tl.fit_dynamics(adata, "wfr", use_rep="X_genes", progress=False)
    scruot.tl.diagnose(adata, n_cells=60)
    return adata


def test_every_check_has_its_line_and_mark(diagnosed, tmp_path):
    table = diagnosed.uns["dynamics_diagnosis"]
    ax = scruot.pl.diagnose(diagnosed, save=tmp_path / "d.png", title="A fit")
    texts = [text.get_text() for text in ax.texts]
    assert set(table["check"]) <= set(texts)
    assert any(text.startswith("→") for text in texts)
    assert len(ax.lines) == len(table)
    markers = {"good": "o", "doubtful": "^", "bad": "X", "not checked": "_"}
    assert [line.get_marker() for line in ax.lines] == [markers[v] for v in table["verdict"]]
    short = scruot.pl.diagnose(diagnosed, ax=plt.subplots()[1], remedies=False)
    assert not any(text.get_text().startswith("→") for text in short.texts)
    assert (tmp_path / "d.png").stat().st_size > 0


def test_no_diagnosis(diagnosed):
    del diagnosed.uns["dynamics_diagnosis"]
    with pytest.raises(KeyError, match=r"no diagnosis in adata.uns.*Run scruot.tl.diagnose\(adata"):
        scruot.pl.diagnose(diagnosed)
