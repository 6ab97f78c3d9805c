"""TRL's tables: Parquet files by TRL itself, and the same table as W&B keeps it.

`completions_0_ffc665c9.table.json` is what wandb 0.31.0 in offline mode makes of `wandb.Table(dataframe=…)` with the
columns of `GRPOTrainer.log` (TRL 1.16).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from r1rl.store import store
from r1rl.store.importers import Settings, load

QUESTIONS = [("3 + 4 = ", "7"), ("2 + 2 = ", "4"), ("5 - 1 = ", "4"), ("6 * 2 = ", "12")]
FILES = Path(__file__).parents[1] / "files" / "trl"


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conversational"])
def trl_output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """TRL's GRPOTrainer run for three steps with log_completions, and what its rewards were called with."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    chars = {chr(code): code - 29 for code in range(32, 127)}
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2, **chars}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=98, pad_token_id=0, eos_token_id=1, bos_token_id=None, **shape))
    seen: list[Any] = []

    def accuracy_reward(
        prompts: list[Any], completions: list[Any], solution: list[str], log_extra: Any = None, **_: Any
    ) -> list[float | None]:
        log_extra("solution", list(solution))
        seen.append(list(zip(map(said, prompts), map(said, completions), solution, strict=True)))
        return [
            None if gold == "12" else float(gold in said(text))
            for text, gold in zip(completions, solution, strict=True)
        ]

    def length_reward(completions: list[Any], **_: Any) -> list[float]:
        return [len(said(text)) / 4 for text in completions]

    folder = tmp_path_factory.mktemp("trl")
    trainer = GRPOTrainer(
        model,
        [accuracy_reward, length_reward],
        args=GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=4,
            num_generations=2,
            gradient_accumulation_steps=1,
            max_completion_length=8,
            max_steps=3,
            logging_steps=1,
            log_completions=True,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": q}] if request.param else q, "solution": a} for q, a in QUESTIONS]
        ),
        processing_class=tokenizer,
    )
    trainer.train()
    return folder, seen


def said(text: Any) -> str:
    return text if isinstance(text, str) else text[0]["content"]


def test_trl_completions(trl_output: tuple[Path, list[Any]], tmp_path: Path) -> None:
    folder, seen = trl_output
    settings = Settings(task="sums", verifier="exact", extraction="last-number", weights={"length_reward": 0.5})
    done = load(folder, tmp_path / "run", settings=settings)
    assert (done.rollouts, done.steps, done.left_out) == (12, 3, ())
    rows = store.read(tmp_path / "run").to_pylist()
    assert [[(r["prompt"], r["completion"], r["gold"]) for r in rows if r["step"] == step] for step in range(3)] == seen
    for row in rows:
        right = row["gold"] in row["completion"]
        paid = None if row["gold"] == "12" else float(right)
        assert row["reward_accuracy_reward"] == paid
        assert row["reward_length_reward"] == pytest.approx(len(row["completion"]) / 4)
        assert row["reward"] == pytest.approx((paid or 0.0) + len(row["completion"]) / 8)
        assert row["verdict"] in ("correct", "wrong", "unparseable")
        assert (row["task"], row["verifier"], row["kind"]) == ("sums", "exact", "train")
        assert row["advantage"] is not None
        assert row["n_tokens"] is row["token_ids"] is row["temperature"] is None
    groups = {r["group_id"] for r in rows}
    assert len(groups) == 6
    for group in groups:
        members = [r for r in rows if r["group_id"] == group]
        assert len({(r["prompt_id"], r["step"]) for r in members}) == 1
        assert [r["sample_idx"] for r in members] == [0, 1]
        assert sum(r["advantage"] for r in members) == pytest.approx(0, abs=1e-5)


def test_the_table_of_wandb(tmp_path: Path) -> None:
    done = load(FILES, tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert (done.format, done.left_out) == ("trl", ())
    assert [(row["step"], row["reward"], row["reward_accuracy_reward"], row["advantage"]) for row in rows] == [
        (0, 1, 1, 0.7), (0, 0, 0, -0.7),
    ]  # fmt: skip
