"""Papers that docstrings and pages cite are in the one bibliography, and so are the methods'."""

import ast
import re
import unicodedata
from pathlib import Path

import pytest

from scruot import solvers

ROOT = Path(__file__).parents[1]
BIBLIOGRAPHY = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")
_ENTRY = re.compile(r"^@\w+\{([\w:-]+),\n(.*?)^\}", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(
    r"^\s*(\w+)\s*=\s*\{(.*?)\},?\s*$(?=\s*\w+\s*=|\s*\Z)", re.DOTALL | re.MULTILINE
)
# in docstrings :cite:p:`a,b`, in pages {cite:t}`a`
_CITED = re.compile(r"[:{]cite:\w+[:}]`([^`]+)`")
_YEAR = re.compile(r"\b(1[89]|20)\d\d\b")


def entries(text: str) -> dict[str, dict[str, str]]:
    """Return the fields of every entry of a bibliography."""
    return {
        key: {name.lower(): value for name, value in _FIELD.findall(body)}
        for key, body in _ENTRY.findall(text + "\n")
    }


def docstrings() -> dict[str, str]:
    """Return every docstring of the package that has a section of references or cites."""
    found = {}
    for path in sorted((ROOT / "scruot").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                continue
            text = ast.get_docstring(node) or ""
            if "References\n---" in text or _CITED.search(text):
                name = getattr(node, "name", "module")
                found[f"{path.relative_to(ROOT)}:{name}"] = text
    return found


def plain(text: str) -> str:
    """Return a text without the accents, braces, spaces and case of BibTeX."""
    text = re.sub(r"\\[\"'`^~]", "", re.sub(r"[{}]", "", text))
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"\s+", " ", text).strip().lower()


def cited(text: str) -> set[str]:
    """Return the keys that a text cites."""
    return {key.strip() for keys in _CITED.findall(text) for key in keys.split(",")}


ENTRIES = entries(BIBLIOGRAPHY)
DOCSTRINGS = docstrings()
PAGES = {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in ROOT.glob("docs/**/*.md")}


def test_bibliography_is_complete():
    assert len(ENTRIES) == len(re.findall(r"^@", BIBLIOGRAPHY, re.MULTILINE))
    for key, fields in ENTRIES.items():
        assert {"author", "title", "year"} <= fields.keys(), key
        venue = {"journal", "booktitle", "eprint", "url"} & fields.keys()
        assert venue, f"{key} names no venue"
        assert fields["year"] in key, f"{key} is of {fields['year']}"


@pytest.mark.parametrize("where", sorted(DOCSTRINGS))
def test_docstrings_cite_what_the_bibliography_has(where):
    text = DOCSTRINGS[where]
    keys = cited(text)
    assert keys, "a section of references without a citation"
    assert keys <= ENTRIES.keys()
    years = {match[0] for match in _YEAR.finditer(text)}
    for key in keys:
        # the words beside the citation, which help() shows, name the same year and an author
        author = plain(ENTRIES[key]["author"]).split(",")[0].split(" ")[-1]
        assert ENTRIES[key]["year"] in years or f":cite:t:`{key}" in text, key
        assert author in plain(text), key


def test_references_give_as_many_citations_as_papers():
    for where, text in DOCSTRINGS.items():
        section = re.search(r"References\n-+\n(.*?)(?=\n\n\S+\n---|\Z)", text, re.DOTALL)
        if section is None:
            continue
        words = re.sub(r"arXiv:[\d.]+|:cite:\w+:`[^`]+`", "", section[1])
        papers = len(re.findall(r"\((?:1[89]|20)\d\d\)", words))
        assert len(_CITED.findall(section[1])) >= papers, where


def test_pages_cite_what_the_bibliography_has():
    assert set().union(*map(cited, PAGES.values())) <= ENTRIES.keys()


@pytest.mark.parametrize("method", solvers.names())
def test_methods_give_the_entry_of_the_bibliography(method):
    ((key, fields),) = entries(solvers.cite(method)).items()
    for name in ("author", "title", "year"):
        assert plain(fields[name]) == plain(ENTRIES[key][name])
    assert fields.get("eprint") == ENTRIES[key].get("eprint")
    assert fields.get("doi") == ENTRIES[key].get("doi")
