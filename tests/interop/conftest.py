"""The cells of the guide, run here and in a second environment, once for all tests."""

import json
import os
import re
import subprocess
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide" / "interoperability.md"
VARIABLE = "SCRUOT_INTEROP_PYTHON"


def cells_of_the_guide():
    """Return ``(where, code)`` of every cell that the guide says is run."""
    page = GUIDE.read_text(encoding="utf-8")
    return re.findall(r"^% run: (scruot|second)\n\n```python\n(.*?)^```", page, re.M | re.S)


@pytest.fixture(scope="session")
def told(tmp_path_factory):
    """Run all cells, and return the cells here and the facts from there."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"{VARIABLE} names no Python with CellRank and scVelo; .ci/run makes one")
    folder = tmp_path_factory.mktemp("interop")
    namespace: dict = {}
    here = Path.cwd()
    os.chdir(folder)
    try:
        with warnings.catch_warnings():
            # of scanpy and umap, about their own ways
            warnings.simplefilter("ignore")
            for where, code in cells_of_the_guide():
                if where == "scruot":
                    exec(compile(code, GUIDE.name, "exec"), namespace)
                    plt.close("all")
    finally:
        os.chdir(here)
    others = [code for where, code in cells_of_the_guide() if where == "second"]
    (folder / "blocks.json").write_text(json.dumps(others))
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    script = Path(__file__).with_name("second.py")
    run = subprocess.run(
        [python, str(script), str(folder)],
        env=environment | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    facts = json.loads((folder / "facts.json").read_text())
    facts["probabilities"] = np.array(facts["probabilities"])
    return SimpleNamespace(adata=namespace["adata"], folder=folder, **facts)
