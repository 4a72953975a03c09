"""Messages that the troubleshooting page quotes are those that the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r'^\*\*"(.+?)"\*\*', PAGE, re.MULTILINE)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return "\0"  # what an f-string fills in


def _messages() -> str:
    trees = (ast.parse(p.read_text(encoding="utf-8")) for p in (ROOT / "scruot").rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(_text(n) for n in nodes if isinstance(n, (ast.Constant, ast.JoinedStr)))


MESSAGES = _messages()


def test_page_quotes_messages():
    assert len(QUOTED) > 10


@pytest.mark.parametrize("quoted", QUOTED)
def test_quoted_message_is_in_the_code(quoted):
    # names, numbers and lists in a quotation stand for what the code fills in
    fixed = re.split(r"'[^']*'|\[[^\]]*\]|\d+|\.\.\.", quoted)
    parts = [part.strip(" :(),") for part in fixed if len(part.strip(" :(),")) > 2]
    assert parts
    for part in parts:
        assert part in MESSAGES, part
