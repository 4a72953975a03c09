"""Let the Returns section of a numpydoc docstring be free text with a list of what is written.

Types stand in annotations only, so the first line of the section is no type; napoleon takes it
for one. Below it, ``name : type`` with an indented text is an item.
"""

import re

from sphinx.application import Sphinx
from sphinx.ext.napoleon import NumpyDocstring

_ITEM = re.compile(r"^(``\S.*?)(?: : (.+))?$")


def as_list(lines: list[str]) -> list[str]:
    """Turn items, with or without a text of their own, into a bullet list."""
    result: list[str] = []
    inside = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        item = _ITEM.match(line)
        if item and (item[2] or following.startswith(" ")):
            if not inside:
                result.append("")
            kind = f" ({item[2]})" if item[2] else ""
            result.append(f"* {item[1]}{kind}{' –' if following.startswith(' ') else ''}")
            inside = True
        elif inside and line.startswith(" "):
            result.append(f"  {line.removeprefix('    ')}")
        else:
            if inside and line:
                result.append("")
            inside = inside and not line
            result.append(line)
    return result


def _free_returns(self: NumpyDocstring, section: str) -> list[str]:
    lines = self._dedent(self._consume_to_next_section())
    return self._format_block(":returns: ", as_list(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Replace napoleon's reading of the section."""
    NumpyDocstring._parse_returns_section = _free_returns
    return {"parallel_read_safe": True, "parallel_write_safe": True}
