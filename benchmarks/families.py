"""Families of models as users bring them, trained for two steps with random weights: `python -m benchmarks.families`.

Every family meets every kind of tokenizer, chat template, tuning and engine, though not all of them with all others.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FAMILIES = ("Llama", "Qwen2", "Qwen3", "Gemma3Text", "GPT2", "Mistral", "Phi")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
POSITIONS, VOCABULARY = 512, 320
END, PAD = "<|end|>", "<|pad|>"
_TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]"
TEMPLATES = {"plain": _TURNS + "{% endif %}", "opens <think>": _TURNS + "<think>\n{% endif %}"}


@dataclass(frozen=True)
class Case:
    """A model and how it is trained.

    Args:
        pad: whether the tokenizer has a token for padding.
        end: what names the end of a text: `tokenizer`, `generation` (its configuration alone) or `nothing`.
        chat: a key of `TEMPLATES`, or `none`: then the prompt template is R1-Zero's.
        special: whether the tags are special tokens.
        words: further words of the command line.
    """

    family: str
    pad: bool = True
    end: str = "tokenizer"
    chat: str = "none"
    special: bool = False
    lora: bool = False
    engine: str = "embedded"
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """All of it in a line."""
        parts = [
            self.family, "pad" if self.pad else "no pad", f"end: {self.end}", f"chat: {self.chat}",
            "special tags" if self.special else "plain tags", "LoRA" if self.lora else "full", self.engine, *self.words,
        ]  # fmt: skip
        return ", ".join(parts)


def paid(completions: Sequence[Any], completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
    """A reward that random weights earn too, so that there is something to learn."""
    return [sum(ids) % 7 / 7 for ids in completion_ids]


def trained() -> Iterator[Case]:
    """Six cases a family. In each family every two of the kinds meet at all levels, but for one pair that changes."""
    for number, family in enumerate(FAMILIES):
        for row in range(6):
            third, half = row % 3, row // 3
            flips = [half ^ (third == place) for place in (3, 0, 1, 2)]  # 3: never
            pad, end, special, lora = flips
            yield Case(
                family,
                pad=bool(pad),
                end=("tokenizer", "generation")[end],
                chat=("none", *TEMPLATES)[third],
                special=bool(special),
                lora=bool(lora),
                engine=("embedded", "generate")[flips[number % 4]],
            )


def refused() -> Iterator[tuple[Case, str]]:
    """What cannot be trained, and what is said of it, before any weight is read."""
    for number, family in enumerate(FAMILIES):
        kinds = [
            (Case(family, end="nothing"), "says which token ends a text"),
            (Case(family, words=("--prompt_template", "chat")), "has no chat template"),
            (Case(family, words=("--max_completion_length", "4000")), f"the model has {POSITIONS} positions"),
        ]
        yield kinds[number % 3]
        yield kinds[(number + 1) % 3]


def write_model(case: Case, folder: Path, *, weights: bool = True) -> None:
    """The model's folder, as `from_pretrained` takes it."""
    import torch
    import transformers
    from safetensors.torch import save_file

    small: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": POSITIONS, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    if case.family != "GPT2":  # which knows no such thing
        small |= {"num_key_value_heads": 2, "intermediate_size": 48}
    if case.family in ("Gemma3Text", "Qwen3"):
        small["head_dim"] = 16
    if case.family in ("Gemma3Text", "Mistral"):
        small["sliding_window"] = 64
    config = getattr(transformers, f"{case.family}Config")(**small)
    config.save_pretrained(folder)
    if weights:
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    else:
        save_file({}, folder / "model.safetensors")
    with contextlib.suppress(FileNotFoundError):
        (folder / "generation_config.json").unlink()
    write_tokenizer(case, folder)


def write_tokenizer(case: Case, folder: Path) -> None:
    """The tokenizer's files, made of one sentence."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(
        ["Using the numbers, create an expression that equals the target. ( + - * / )"], trainer
    )
    named = {"eos_token": END} if case.end == "tokenizer" else {}
    named |= {"pad_token": PAD} if case.pad else {}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    fast.add_tokens(list(TAGS), special_tokens=case.special)
    fast.chat_template = TEMPLATES.get(case.chat)
    fast.save_pretrained(folder)
    if case.end == "generation":
        transformers.GenerationConfig(eos_token_id=[tokenizer.token_to_id(END)]).save_pretrained(folder)


def write_recipe(case: Case, folder: Path) -> Path:
    """A recipe of two steps for the model in `folder`/model."""
    content = {
        "model_name_or_path": str(folder / "model"), "runs_dir": str(folder / "runs"), "name": "run",
        "task": "countdown", "prompt_template": "r1-zero" if case.chat == "none" else "chat",
        "reward_funcs": ["accuracy", "format", "benchmarks.families:paid"], "reward_weights": [1.0, 0.1, 1.0],
        "prompts_per_step": 2, "num_generations": 4, "max_completion_length": 24, "max_steps": 2, "train_size": 8,
        "heldout_size": 2, "num_generations_eval": 1, "eval_steps": 2, "max_wasted_steps": 0, "learning_rate": 1e-3,
        "engine": case.engine, "use_peft": case.lora, "lora_target_modules": "all-linear", "use_cpu": True,
        "disable_tqdm": True,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(case: Case, folder: Path, *, weights: bool = True) -> tuple[int, str]:
    """The exit code of `r1rl train` and the last line on standard error."""
    from r1rl import cli

    write_model(case, folder / "model", weights=weights)
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        code = cli.main(["train", str(write_recipe(case, folder)), *case.words])
    return code, (told.getvalue().strip().splitlines() or [""])[-1]


def faults(case: Case, folder: Path) -> list[str]:
    """What is wrong with a run that has ended well."""
    from transformers import AutoTokenizer

    from r1rl.store import store

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    tags = {tokenizer.convert_tokens_to_ids(tag): tag for tag in TAGS}
    ends = {tokenizer.convert_tokens_to_ids(END), tokenizer.eos_token_id}  # a class of tokenizers may have its own
    run_folder = folder / "runs" / "run"
    rows = store.read(run_folder).to_pylist()
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "reward" in line]
    opened = {"<think>\n"} if case.chat == "opens <think>" else {""}
    checks = {
        "not two steps": len(steps) == 2,
        "nothing learnt": all(line["grad_norm"] > 0 for line in steps),
        "no held-out rollouts": {row["kind"] for row in rows} == {"train", "eval"},
        "another prefill than the prompt opens": {row["prefill"] for row in rows} == opened,
        "a rollout that ended at no end": all(
            (row["finish_reason"] == "eos") == (row["token_ids"][-1] in ends) for row in rows
        ),
        "all rollouts of one token": max(row["n_tokens"] for row in rows) > 1,
        "a tag that was written is not in the text": all(
            tags[token] in row["completion"] for row in rows for token in row["token_ids"] if token in tags
        ),
        "the end is in the text": not any(
            END in row["completion"] or (case.pad and PAD in row["completion"]) for row in rows
        ),
        "a share above 1": all(value <= 1 for line in steps for name, value in line.items() if "useful" in name),
        "no final model": any((run_folder / "checkpoints" / "final").glob("*.safetensors")),
    }
    return [fault for fault, passed in checks.items() if not passed]


def outcome(case: Case, message: str | None = None) -> str:
    """One line on a case: `trained`, `refused: …` as expected, or what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            code, last = run(case, folder, weights=message is None)
            if message is not None:
                left = (folder / "runs").exists()
                return (
                    f"refused: {last}" if (code, message in last, left) == (2, True, False) else f"WRONG {code}: {last}"
                )
            wrong = [f"exit code {code}: {last}"] if code else faults(case, folder)
        except Exception as error:
            wrong = [traceback.format_exception_only(error)[-1].strip()]
        return f"WRONG {'; '.join(wrong)}" if wrong else "trained"


def main() -> int:
    """Run every case and print a table."""
    import logging

    logging.disable(logging.WARNING)
    wrong, started = 0, time.monotonic()
    cases: list[tuple[Case, str | None]] = [*((case, None) for case in trained()), *refused()]
    for case, message in cases:
        found = outcome(case, message)
        wrong += found.startswith("WRONG")
        sys.stdout.write(f"{case.name}: {found}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(cases)} cases, {wrong} wrong, {time.monotonic() - started:.0f} s\n")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
