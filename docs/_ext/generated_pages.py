"""Write the pages that have a source elsewhere: methods, command line, tutorials."""

import inspect
import re
import shutil
from pathlib import Path

import typer
from sphinx.application import Sphinx

from scruot import cli, solvers

_YES = "✓"


def _cell(text: str) -> str:
    """Keep a text from breaking the table that it stands in."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()


def _overview(described: list[dict]) -> list[str]:
    """Tabulate what each method learns."""
    lines = [
        "| method | what it does | velocity | growth | stochastic | reference |",
        "| --- | --- | :---: | :---: | :---: | --- |",
    ]
    for method in described:
        marks = [
            "velocity" in method["learns"] or "drift" in method["learns"],
            "growth" in method["learns"],
            method["stochastic"],
        ]
        shown = " | ".join(_YES if mark else "" for mark in marks)
        name = method["name"]
        lines.append(
            f"| [`{name}`](#{name}) | {_cell(method['summary'])} | {shown} "
            f"| {_cell(method['reference'])} |"
        )
    return lines


def _parameters(method: dict) -> list[str]:
    """Tabulate the parameters of one method."""
    lines = [
        "",
        f"## `{method['name']}`",
        "",
        str(method["summary"]).strip(),
        "",
        "| parameter | default | meaning |",
        "| --- | --- | --- |",
    ]
    for name, parameter in method["parameters"].items():
        lines.append(f"| `{name}` | `{parameter['default']!r}` | {_cell(parameter['help'])} |")
    return [*lines, "", f"*Reference*: {_cell(method['reference'])}"]


def methods_table() -> str:
    """Describe every registered method as Markdown."""
    described = [solvers.describe(name) for name in solvers.names()]
    lines = _overview(described)
    for method in described:
        lines += _parameters(method)
    return "\n".join(lines) + "\n"


def _label(argument: typer.core.TyperArgument) -> str:
    """Name an argument as its help does."""
    return str(argument.metavar or argument.name).strip("{}")


def _command(name: str, command: typer.core.TyperCommand) -> list[str]:
    """Describe one command and its options."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["scruot", name, *(_label(p) for p in arguments), "[OPTIONS]"])
    lines = ["", f"## `scruot {name}`", "", inspect.cleandoc(command.help or ""), ""]
    lines += ["```shell", usage, "```", "", "| | default | meaning |", "| --- | --- | --- |"]
    for parameter in command.params:
        options = ", ".join(f"`{option}`" for option in parameter.opts if option.startswith("-"))
        label = options or f"`{_label(parameter)}`"
        nothing = parameter.default is None or parameter.default is False
        default = "" if nothing or parameter.default == () else f"`{parameter.default}`"
        if parameter.required:
            default = "required"
        lines.append(f"| {label} | {default} | {_cell(parameter.help or '')} |")
    return lines


def command_line() -> str:
    """Describe every command as Markdown."""
    commands = typer.main.get_command(cli.app).commands
    lines = [line for name, command in commands.items() for line in _command(name, command)]
    return "\n".join(lines) + "\n"


def write(app: Sphinx) -> None:
    """Write what the pages include, before anything is read."""
    folder = Path(app.srcdir) / "generated"
    tutorials = folder / "tutorials"
    tutorials.mkdir(parents=True, exist_ok=True)
    (folder / "methods_table.md").write_text(methods_table(), encoding="utf-8")
    (folder / "command_line.md").write_text(command_line(), encoding="utf-8")
    for notebook in sorted((Path(app.srcdir).parent / "tutorials").glob("*.ipynb")):
        shutil.copyfile(notebook, tutorials / notebook.name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
