"""SkyRL's evaluations: `skyrl` was written by its own `dump_per_dataset_eval_results`, taken from commit a9564572.

Called on made-up rollouts with a tokenizer that has one id a text, for global steps 0 and 20; a score is a number or a
list of the tokens' rewards, as its generators give them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from r1rl.store import store
from r1rl.store.importers import Settings, load

FILES = Path(__file__).parents[1] / "files" / "skyrl"


@pytest.mark.parametrize("inside", ["", "dumped_evals", "dumped_evals/global_step_20_evals"])
def test_evaluations(tmp_path: Path, inside: str) -> None:
    done = load(FILES / inside, tmp_path / "run", settings=Settings(verifier="exact", extraction="last-number"))
    rows = store.read(tmp_path / "run", kind="eval").to_pylist()
    last = [row for row in rows if row["step"] == 20]
    assert (done.format, len(last), {row["step"] for row in rows}) == (
        "skyrl",
        4,
        {20} if "global" in inside else {0, 20},
    )
    assert [row["reward"] for row in last] == [1, 0, 1, 0], "the sum where each token has one"
    assert [row["verdict"] for row in last] == ["correct", "wrong"] * 2
    assert [row["finish_reason"] for row in last] == ["stop", "length"] * 2
    assert {(row["task"], row["n_tokens"]) for row in last} == {("openai/gsm8k", None)}
    assert last[0]["prompt"] == "<|im_start|>user\nWhat is 6 * 7?<|im_end|>\n<|im_start|>assistant\n"
    assert "aggregated" not in str(done)


def test_its_training_batches_are_pickles(tmp_path: Path) -> None:
    (tmp_path / "dumped_data").mkdir()
    (tmp_path / "dumped_data" / "global_step_1_training_input.pkl").write_bytes(b"\x80\x05.")
    with pytest.raises(ValueError, match="pickles can run code"):
        load(tmp_path, tmp_path / "run")
    with pytest.raises(ValueError, match="which can run code"):
        load(tmp_path / "dumped_data" / "global_step_1_training_input.pkl", tmp_path / "run")
