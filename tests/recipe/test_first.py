"""A first recipe: what is asked, what is written, and that `plan` accepts it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl import cli

RULES = "def short(completions, **columns):\n    return [float(len(text) < 9) for text in completions]\n"
CSV = "problem,ground_truth\n" + "".join(f"{n} + 1?,{n + 1}\n" for n in range(30))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model that has a chat template, data and a reward."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from r1rl.models import base

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=300, **shape)).save_pretrained("model")
    tokenizer = AutoTokenizer.from_pretrained(base.shipped("countdown"))
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\\n{% endfor %}"
    tokenizer.save_pretrained("model")
    Path("rules.py").write_text(RULES)
    Path("own.csv").write_text(CSV)
    Path("odd.jsonl").write_text("".join(json.dumps({"q": {"text": f"{n}?"}, "a": n}) + "\n" for n in range(4)))
    return tmp_path


GIVEN = [
    pytest.param(
        ["--model", "model", "--data", "own.csv", "--reward", "accuracy,rules.py:short"],
        {
            "model_name_or_path": "./model",
            "task_options": {"path": "./own.csv", "question_column": "problem", "answer_column": "ground_truth"},
            "reward_funcs": ["accuracy", "rules.py:short"], "prompt_template": "chat", "prompts_per_step": 8,
            "heldout_size": 6, "max_completion_length": 150,
        },
        id="all of one's own",
    ),
    pytest.param(
        ["--model", "base:countdown"],
        {"task": "countdown", "prompt_template": "r1-zero", "reward_funcs": ["accuracy", "format"]},
        id="a model alone",
    ),
    pytest.param(
        ["--model", "Qwen/Qwen2.5-0.5B", "--data", "odd.jsonl", "--question-column", "q.text", "--answer_column", "a"],
        {"heldout_size": 1, "prompts_per_step": 3, "max_completion_length": 512},
        id="columns given, a model of the hub, four rows",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), GIVEN)
def test_plan_accepts_what_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: dict[str, Any]
) -> None:
    assert cli.main(["init", *words]) == 0
    assert "next: r1rl plan recipe.yaml" in capsys.readouterr().out
    written = yaml.safe_load(Path("recipe.yaml").read_text())
    assert {key: written[key] for key in expected} == expected
    assert cli.main(["plan", "recipe.yaml"]) == 0
    assert not list(here.glob(".*"))


@pytest.mark.parametrize(
    ("accelerators", "told"),
    [
        pytest.param(0, True, id="a first look is short where there is no GPU"),
        pytest.param(1, False, id="the recipe's own sizes on a GPU"),
    ],
)
def test_a_first_look(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, accelerators: int, told: bool
) -> None:
    monkeypatch.setattr("r1rl.ground.machine.visible_gpus", lambda: accelerators)
    assert cli.main(["init", "--model", "model", "--data", "own.csv"]) == 0
    command = re.search("no GPU here.*: r1rl (train .*)", capsys.readouterr().out)
    assert bool(command) == told
    if command:
        assert cli.main(["plan", *command[1].split()[1:]]) == 0


def test_what_is_not_given_is_asked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[str] = iter(["model", "own.csv", "", "mine.yaml"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert cli.main(["init"]) == 0
    assert yaml.safe_load(Path("mine.yaml").read_text())["reward_funcs"] == ["accuracy", "format"]
    assert not list(answers)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([], "--model: missing; which model?", id="nobody to ask"),
        pytest.param(["--model", "model", "--to", "own.csv"], "to='own.csv': exists", id="a name that is taken"),
        pytest.param(["--model", "model", "--to", "none/a.yaml"], "no folder none", id="no folder"),
        pytest.param(
            ["--model", "model", "--data", "odd.jsonl"],
            "error: --question-column='question': odd.jsonl has no such column, it has a, q",
            id="unknown columns, by the option that names one",
        ),
        pytest.param(["--model", "model", "--data", "none.csv"], "none.csv", id="no data"),
        pytest.param(["--model", "./none"], "no such folder", id="no model"),
        pytest.param(["--model", "model", "--reward", "shrt"], "reward='shrt': unknown", id="no reward"),
    ],
)
def test_what_cannot_be_used_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    before = sorted(here.iterdir())
    assert cli.main(["init", *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path for path in here.iterdir() if path.name != "__pycache__") == before
