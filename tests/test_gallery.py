"""Every picture stands in the gallery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import scruot

GALLERY = Path(__file__).parents[1] / "tutorials" / "gallery.ipynb"
CELLS = json.loads(GALLERY.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("name", scruot.pl.__all__)
def test_picture_is_drawn_in_the_gallery(name):
    drawn = [
        cell
        for cell in CELLS
        if cell["cell_type"] == "code" and f"sr.pl.{name}(" in "".join(cell["source"])
    ]
    assert any("image/png" in out.get("data", {}) for cell in drawn for out in cell["outputs"])
