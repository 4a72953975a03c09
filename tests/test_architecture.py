"""The rules that design and contribution guide state, checked on the source itself."""

import ast
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import scruot

PACKAGE = Path(scruot.__file__).parent
ROOT = PACKAGE.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A layer imports those below it and itself, never those above; io stands beside the façade.
LAYERS = {
    "cli": 4,
    "__main__": 4,
    "pp": 3,
    "tl": 3,
    "pl": 3,
    "get": 3,
    "datasets": 3,
    "io": 2,
    "fates": 1,
    "solvers": 1,
    "transport": 1,
    "displacement": 1,
    "dynamics": 0,
    "geometry": 0,
    "metrics": 0,
}
CORE = {name for name, layer in LAYERS.items() if layer <= 1}
# Columns of obs that a simulation is made of; its own, not slots in the user's object.
SIMULATED = {"time", "weight", "start_cell", "trajectory"}
FACADES = ("pp", "tl", "pl", "get", "datasets", "solvers")


def part(path: Path) -> str:
    """Name the direct child of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def public_functions() -> Iterator[tuple[str, Callable]]:
    """Yield name and object of what the façades export, classes aside."""
    for facade in FACADES:
        module = importlib.import_module(f"scruot.{facade}")
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                yield f"{facade}.{name}", thing


FUNCTIONS = dict(public_functions())
ON_ADATA = {
    name: thing for name, thing in FUNCTIONS.items() if name.split(".")[0] in {"pp", "tl", "pl"}
} | {"get.dynamics": FUNCTIONS["get.dynamics"]}


def described(docstring: str) -> dict[str, str]:
    """Return the parameters of a numpydoc docstring with what is said of each."""
    section = re.search(
        r"^Parameters\n-{3,}\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", docstring, re.DOTALL | re.MULTILINE
    )
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if line and not line[0].isspace():
            names = [name.strip(" *") for name in line.split(":")[0].split(",")]
            found.update(dict.fromkeys(names, ""))
        else:
            found.update({name: f"{found[name]} {line.strip()}".strip() for name in names})
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_is_short_and_imports_downwards(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    layer = LAYERS.get(part(path))
    for module in imports(path):
        if part(path) in CORE:
            assert module.split(".")[0] not in {"anndata", "scanpy"}, "the core knows no AnnData"
        if layer is not None and module.startswith("scruot."):
            imported = LAYERS.get(module.split(".")[1], 0)
            assert imported <= layer, f"{part(path)} imports {module}"


def test_every_part_of_the_package_has_a_layer():
    parts = {part(path) for path in SOURCES}
    assert {name for name in parts if not name.startswith("_") or name == "__main__"} <= set(LAYERS)


def test_every_imported_package_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=\[ ]", line)[0] for line in project["dependencies"]}
    imported = {name.split(".")[0] for path in SOURCES for name in imports(path)}
    others = imported - set(sys.stdlib_module_names) - {"scruot"}
    renamed = {"ot": "pot", "sklearn": "scikit-learn", "mpl_toolkits": "matplotlib"}
    assert {renamed.get(name, name) for name in others} == declared


def test_pl_computes_nothing_that_tl_has_not_stored():
    for path in SOURCES:
        if part(path) == "pl":
            assert not [name for name in imports(path) if name.startswith("scruot.solvers")], path


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_function_documents_every_parameter(name):
    docstring = inspect.getdoc(FUNCTIONS[name])
    assert docstring, "no docstring"
    said = described(docstring)
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters)
    assert sorted(said) == sorted(parameters)
    assert [parameter for parameter in parameters if not said[parameter]] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_function_is_annotated_and_mostly_keyword_only(name):
    signature = inspect.signature(FUNCTIONS[name])
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    assert len(positional) <= 2
    assert signature.return_annotation is not signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", ON_ADATA)
def test_adata_comes_first_and_copy_is_a_keyword(name):
    parameters = inspect.signature(ON_ADATA[name]).parameters
    assert next(iter(parameters)) == "adata"
    if "copy" in parameters:
        assert parameters["copy"].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters["copy"].default is False


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.startswith("pl.")])
def test_plots_take_axes_and_can_stay_unshown(name):
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    assert {"ax", "show", "save"} <= set(parameters)


def test_every_slot_is_used():
    keys = PACKAGE / "_keys.py"
    tree = ast.parse(keys.read_text(encoding="utf-8"))
    slots = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    names = {node.name for node in slots if isinstance(node, ast.FunctionDef)}
    constants = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    users = [path for path in SOURCES if any("scruot._keys" in name for name in imports(path))]
    used = set()
    for path in [keys, *users]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and path != keys:
                used.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used.add(node.id)
    assert sorted(names - {"_prefix"} - used) == []
    assert sorted(constants - used) == []


@pytest.mark.parametrize("name", ["io", "tl", "pl", "get", "cli"])
def test_slot_names_stand_in_one_module(name):
    containers = {"layers", "obs", "obsm", "obsp", "uns", "var", "varm"}
    for path in SOURCES:
        if part(path) != name:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr in containers
            ):
                literal = isinstance(node.slice, ast.Constant | ast.JoinedStr)
                if literal and getattr(node.slice, "value", None) not in SIMULATED:
                    pytest.fail(f"{path}:{node.lineno}: take the slot's name from scruot._keys")


def test_every_public_name_is_in_the_api_reference():
    listed = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        listed |= set(re.findall(r"^\s+([a-z]\w*(?:\.\w+)+)\s*$", page.read_text(), re.MULTILINE))
    public = {
        f"{facade}.{name}"
        for facade in FACADES
        for name in importlib.import_module(f"scruot.{facade}").__all__
    }
    assert sorted(public - listed) == []
