"""Code in the documentation's pages calls functions that exist, with arguments that they take."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import scruot

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    p for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if "_build" not in str(p)
)
_BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`(sr\.(?:pp|tl|pl|get|datasets|solvers)\.\w+\([^`]*\))`")


def snippets(page):
    """Return the blocks and the calls within the text of a page, as code."""
    text = page.read_text(encoding="utf-8")
    blocks = [inspect.cleandoc("\n" + code) for _, code in _BLOCK.findall(text)]
    # in a table a bar is escaped
    return blocks + [call.replace("\\|", "|") for call in _INLINE.findall(text)]


def calls(code):
    """Yield the dotted name of every call of scruot, with its node."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if re.fullmatch(r"sr(\.\w+)+", name):
                yield name, node


CODE = {str(page.relative_to(ROOT)): snippets(page) for page in PAGES}
CODE = {page: code for page, code in CODE.items() if code}


def test_there_is_code():
    found = [name for code in CODE.values() for part in code for name, _ in calls(part)]
    assert len(found) > 100
    assert {"sr.tl.fit_dynamics", "sr.tl.evaluate", "sr.pl.velocity_stream"} <= set(found)


@pytest.mark.parametrize("page", CODE)
def test_calls_are_possible(page):
    for code in CODE[page]:
        for name, node in calls(code):
            function = scruot
            for part in name.split(".")[1:]:
                assert hasattr(function, part), f"{name} does not exist"
                function = getattr(function, part)
            signature = inspect.signature(function)
            given = {word.arg: None for word in node.keywords if word.arg is not None}
            # dots stand for what the reader fills in
            places = [None for value in node.args if ast.unparse(value) != "..."]
            try:
                signature.bind_partial(*places, **given)
            except TypeError as error:
                pytest.fail(f"{name}: {error}\n{code}")
            open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
            assert open_ended or given.keys() <= signature.parameters.keys()
