"""Changed settings and refreshed references in the curves, the terminal and a comparison."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from r1rl.inspect.compare import compare
from r1rl.inspect.curves import charts, events
from r1rl.inspect.run_data import load
from r1rl.inspect.terminal import print_summary

EVENTS = [
    {"step": 2, "event": "setting", "key": "max_completion_length", "value": 96, "before": 48},
    {"step": 2, "event": "setting", "key": "learning_rate", "value": 1e-06, "before": 2e-06},
    *({"step": step, "event": "reference_refreshed"} for step in range(2, 20, 2)),
    {"step": 5, "event": "nothing_earned", "rollouts": 16},
    {"step": 7, "event": "setting", "key": "temperature", "value": "<b>[red]\x1b[31m", "before": 1.0},
]


@pytest.fixture
def changed_run(run_dir: Path) -> Path:
    (run_dir / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    return run_dir


def test_every_change_has_a_dashed_line_and_a_short_label(changed_run: Path) -> None:
    for chart in charts(load(changed_run)):
        shapes = [shape for shape in chart.layout["shapes"] if shape["type"] == "line"]
        assert {shape["line"]["dash"] for shape in shapes} == {"dash"}
        labels = {each["x"]: each["text"] for each in chart.layout["annotations"]}
        assert sorted(labels) == sorted({shape["x0"] for shape in shapes}) == [2, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18]
        assert labels[2] == "cap 96, lr 1e-06, ref"
        assert (labels[5], labels[18]) == ("nothing earned", "ref")
        assert labels[7] == "T &lt;b&gt;[red]\\x1b[31m"
    assert [event.label for event in events(load(changed_run))][:2] == ["cap 96", "lr 1e-06"]


def test_the_terminal_lists_the_changes(changed_run: Path) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    print_summary(changed_run, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "max_completion_length  48, 96 from step 2 on" in text
    assert "learning_rate  2e-06, 1e-06 from step 2 on" in text
    assert "temperature  1.0, <b>[red]\\x1b[31m from step 7 on" in text
    assert "reference  refreshed, step 2, step 4" in text
    assert "\x1b" not in text


def test_recipes_with_mappings_are_compared(run_dir: Path, make_run: Callable[..., Path], tmp_path: Path) -> None:
    other = make_run(tmp_path / "other")
    for run, cap in ((run_dir, "48"), (other, "{0: 48, 8: 96}")):
        with (run / "recipe.yaml").open("a") as stream:
            stream.write(f"\nmax_completion_length: {cap}\n")
    found = compare(run_dir, other).recipes
    assert found == {
        "max_completion_length": (48, None),
        "max_completion_length.0": (None, 48),
        "max_completion_length.8": (None, 96),
    }
