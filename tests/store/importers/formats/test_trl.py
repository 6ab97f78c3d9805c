"""TRL's table as W&B keeps it; its Parquet files are in test_loading, by TRL itself.

`completions_0_ffc665c9.table.json` is what wandb 0.31.0 in offline mode makes of `wandb.Table(dataframe=…)` with the
columns of `GRPOTrainer.log` (TRL 1.16).
"""

from __future__ import annotations

from pathlib import Path

from r1rl.store import store
from r1rl.store.importers import load

FILES = Path(__file__).parents[1] / "files" / "trl"


def test_the_table_of_wandb(tmp_path: Path) -> None:
    done = load(FILES, tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert (done.format, done.left_out) == ("trl", ())
    assert [(row["step"], row["reward"], row["reward_accuracy_reward"], row["advantage"]) for row in rows] == [
        (0, 1, 1, 0.7), (0, 0, 0, -0.7),
    ]  # fmt: skip
