"""Let the Returns section of a numpydoc docstring be free text.

Types stand in annotations only, so the first line of the section is no type; napoleon takes it
for one.
"""

from sphinx.application import Sphinx
from sphinx.ext.napoleon import NumpyDocstring


def _free_returns(self: NumpyDocstring, section: str) -> list[str]:
    lines = self._dedent(self._consume_to_next_section())
    return self._format_block(":returns: ", lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Replace napoleon's reading of the section."""
    NumpyDocstring._parse_returns_section = _free_returns
    return {"parallel_read_safe": True, "parallel_write_safe": True}
