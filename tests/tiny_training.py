"""Real training of the tiny recipe in this process, for the tests that look at its trainer or its folder."""

import json
from pathlib import Path

from r1rl.recipe import load as recipe
from r1rl.run import folder as run_folder
from r1rl.train import main as train

TINY = Path(__file__).resolve().parents[1] / "recipes" / "tiny" / "countdown.yaml"


def build(small_run, *overrides):
    """The trainer of a run that has not begun."""
    loaded = recipe.load(TINY, [*small_run, *overrides])
    return train.build_trainer(loaded, train.open_folder(loaded), *train.find_model(loaded))[0]


def run(small_run, *overrides, name="run"):
    """The folder of a run from beginning to end."""
    assert train.main(["--config", str(TINY), *small_run, "--name", name, *overrides]) == 0
    return run_folder.RunFolder(folder_of(small_run, name))


def folder_of(small_run, name="run"):
    """Where a run of this name is."""
    return Path(small_run[small_run.index("--runs_dir") + 1]) / name


def metric_lines(folder):
    """The logged lines of the steps: those that hold a reward."""
    path = folder / "metrics.jsonl" if isinstance(folder, Path) else folder.metrics
    return [line for line in map(json.loads, path.read_text().splitlines()) if "reward" in line]
