"""The notebook runs from top to bottom, with a few steps."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(ROOT / "docs" / "first_run.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "STEPS = 50" in first.source
    first.source = first.source.replace("STEPS = 50", "STEPS = 1")
    training = next(cell for cell in notebook.cells if '"train"' in cell.source)
    small = '"--heldout_size", "4", "--prompts_per_step", "4", "--num_generations", "4", "--num_generations_eval", "2"'
    training.source = training.source.replace('"--max_steps"', f'{small}, "--max_steps"')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    resources = {"metadata": {"path": tmp_path}}
    NotebookClient(notebook, timeout=900, startup_timeout=300, kernel_name="python3", resources=resources).execute()
    said = [output.text for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
            if output.output_type == "stream" and output.name == "stdout"]  # fmt: skip
    assert any(text.startswith("step 0, ") for text in said)
