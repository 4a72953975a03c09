"""Show citations in docstrings by their label.

Docstrings name authors and year in words, for ``help()``, and cite the paper beside them; a second
"[Author et al., year]" would only repeat it. Pages keep author and year.
"""

from typing import Any

from sphinx.application import Sphinx


def by_label(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    """Turn the citations of a docstring into ones by label, in place."""
    lines[:] = [line.replace(":cite:p:", ":cite:labelpar:") for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook."""
    app.connect("autodoc-process-docstring", by_label)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
