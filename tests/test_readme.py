"""The README's quick start is what continuous integration runs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPT = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_quick_start_has_exactly_two_bash_blocks():
    section = re.search(r"^## Quick start\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    assert section is not None
    assert re.findall(r"^```bash\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE) == BLOCKS
    assert len(BLOCKS) == 2


def test_first_block_installs_in_a_fresh_environment_and_runs_the_demo():
    install, demo = BLOCKS[0].splitlines()
    assert re.fullmatch(
        r"python -m venv (\S+) && source \1/bin/activate && pip install \.", install
    )
    assert demo.startswith("scruot demo ")


def test_second_block_installs_the_test_extra_and_runs_the_tests():
    assert BLOCKS[1].splitlines() == ['pip install -e ".[test]"', "pytest"]


@pytest.mark.slow
def test_python_example_runs_and_prints_what_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    section = re.search(r"^## In Python\n(.*?)(?=^## )", README, re.DOTALL | re.MULTILINE)
    assert section is not None
    code = re.search(r"^```python\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    shown = re.search(r"^```text\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    assert code is not None
    assert shown is not None
    exec(compile(code[1], "README.md", "exec"), {})
    words = [
        [word for word in text.split() if not re.search(r"\d", word)]
        for text in (capsys.readouterr().out, shown[1])
    ]
    assert words[0] == words[1]
    assert (tmp_path / "streams.png").stat().st_size > 0


@pytest.mark.skipif(shutil.which("awk") is None, reason="needs awk")
@pytest.mark.parametrize("number", [1, 2])
def test_continuous_integration_reads_the_blocks_from_the_readme(number):
    definition = re.search(r"^readme_block\(\) \{\n.*?^\}$", SCRIPT, re.DOTALL | re.MULTILINE)
    assert definition is not None
    found = subprocess.run(
        ["bash", "-c", f"{definition[0]}\nreadme_block {number}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == BLOCKS[number - 1]
    assert f"$(readme_block {number}" in SCRIPT
