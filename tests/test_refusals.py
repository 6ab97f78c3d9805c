"""What a user gets wrong in a recipe, its data or its rewards: exit code 2, one message, nothing left behind.

Both commands refuse it, `plan` without weights and `train` before any weight is loaded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl import cli

RECIPE: dict[str, Any] = {
    "model_name_or_path": "base:countdown",
    "use_cpu": True,
    "task": "file",
    "task_options": {"path": "data.jsonl"},
    "heldout_size": 2,
    "prompts_per_step": 2,
    "num_generations": 2,
    "max_steps": 1,
    "max_completion_length": 8,
    "reward_funcs": ["accuracy"],
}
REWARDS = """
def short(completions, **columns):
    return [1.0 if len(text) < 500 else 0.0 for text in completions]
def words(completions, **columns):
    return ["good"] * len(completions)
def one(completions, **columns):
    return 0.5
def fewer(completions, **columns):
    return [1.0]
def nothing(completions, **columns):
    return None
def broken(completions, **columns):
    return [1 / 0 for _ in completions]
def wants(completions, colour, **columns):
    return [1.0] * len(completions)
class Picky:
    def __init__(self):
        raise KeyError("no key of the service")
limit = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with data, rewards and models, some of them broken."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    from r1rl.models import base

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "data.jsonl").write_bytes(lines(*({"question": f"{n} + 1?", "answer": n + 1} for n in range(20))))
    for name in ("mine.py", "other.py"):
        (tmp_path / name).write_text(REWARDS)
    (tmp_path / "unparsed.py").write_text("def short(:\n")
    (tmp_path / "a_file").write_text("")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    tokenizer = AutoTokenizer.from_pretrained(base.shipped("countdown"))
    for name in ("no-tokenizer", "no-config", "no-weights", "torn-config", "torn-weights", "torn-tokenizer", "strict"):
        model.save_pretrained(name)
        if name != "no-tokenizer":
            tokenizer.save_pretrained(name)
    Qwen2ForCausalLM(Qwen2Config(vocab_size=64, **sizes)).save_pretrained("no-words")
    Path("no-config/config.json").unlink()
    Path("no-weights/model.safetensors").unlink()
    Path("torn-config/config.json").write_text('{"model_type": ')
    Path("torn-weights/model.safetensors").write_bytes(Path("strict/model.safetensors").read_bytes()[:2000])
    Path("torn-tokenizer/tokenizer.json").write_text("{}")
    tokenizer.chat_template = "{{ raise_exception('no system message, please') }}"
    tokenizer.save_pretrained("strict")
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def refusal(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one message of a command that must be refused."""
    capsys.readouterr()
    before = files(folder)
    assert cli.main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert not message.rstrip().endswith(":")
    assert files(folder) == before
    return message


RECIPES = [
    pytest.param({"report_to": "wandb"}, "report_to='wandb': is not installed; try pip", id="no tracker"),
    pytest.param({"report_to": "tensorbord"}, "did you mean 'tensorboard'?", id="unknown tracker"),
    pytest.param({"report_to": ["tensorboard", "wandb"]}, "report_to='wandb': is not installed", id="second tracker"),
    pytest.param({"report_to": "tensorboard,wandb"}, "report_to='wandb': is not installed", id="trackers in one text"),
    pytest.param({"report_to": ["none", "tensorboard"]}, "stands alone", id="none and another"),
    pytest.param({"prompt_template": "chat"}, "no chat template", id="chat without a template"),
    pytest.param({"prompt_template": "chat", "model_name_or_path": "./strict"},
                 "no system message, please", id="template refuses"),
    pytest.param({"model_name_or_path": "./no-tokenizer"}, "no usable tokenizer", id="model without a tokenizer"),
    pytest.param({"model_name_or_path": "./no-words"}, "no usable tokenizer", id="a tokenizer made of nothing"),
    pytest.param({"model_name_or_path": "./no-config"}, "has no config.json", id="model without a configuration"),
    pytest.param({"model_name_or_path": "./torn-config"}, "torn-config'", id="configuration torn off"),
    pytest.param({"model_name_or_path": "./torn-weights"}, "model.safetensors", id="weights torn off"),
    pytest.param({"model_name_or_path": "./torn-tokenizer"}, "no usable tokenizer", id="tokenizer of nothing"),
    pytest.param({"dtype": "float8"}, "dtype='float8': expected one of auto, ", id="unknown number format"),
    pytest.param({"seed": -1}, "seed=-1: need 0 to 4294967295", id="negative seed"),
    pytest.param({"seed": 2**32}, "need 0 to 4294967295", id="seed too large"),
    pytest.param({"runs_dir": "a_file"}, "runs_dir='a_file': a_file is no folder", id="runs_dir is a file"),
    pytest.param({"runs_dir": "a_file/runs"}, "a_file is no folder", id="runs_dir below a file"),
    pytest.param({"runs_dir": "/proc/runs"}, "runs_dir='/proc/runs': cannot", id="runs_dir where none can be"),
    pytest.param({"num_generations": None}, "num_generations=None: expected a whole", id="no number of siblings"),
    pytest.param({"max_completion_length": None}, "max_completion_length=None: expected", id="no cap"),
    pytest.param({"reward_funcs": ["mine.py:words"]}, "returned 'good'", id="reward returns texts"),
    pytest.param({"reward_funcs": ["mine.py:one"]}, "returned 0.5, one value for 4", id="one value for many"),
    pytest.param({"reward_funcs": ["mine.py:fewer"]}, "returned 1 values for 4 completions", id="fewer values"),
    pytest.param({"reward_funcs": ["mine.py:nothing"]}, "returned None", id="no values"),
    pytest.param({"reward_funcs": ["mine.py:broken"]}, "division by zero (mine.py:13)", id="reward breaks"),
    pytest.param({"reward_funcs": ["mine.py:wants"]}, "columns are answer, ", id="reward wants another column"),
    pytest.param({"reward_funcs": ["mine.py:shrot"]}, "did you mean 'short'?", id="reward misspelt"),
    pytest.param({"reward_funcs": ["mime.py:short"]}, "no such file (looked for ", id="no file of rewards"),
    pytest.param({"reward_funcs": ["unparsed.py:short"]}, "SyntaxError", id="file of rewards is no Python"),
    pytest.param({"reward_funcs": ["mine.py:Picky"]}, "KeyError: 'no key of the service'", id="reward cannot be made"),
    pytest.param({"reward_funcs": ["mine.py:limit"]}, "cannot be called", id="reward is a number"),
    pytest.param({"reward_funcs": ["mine.py:short", "other:short"]}, "'short' twice", id="two rewards of one name"),
    pytest.param({"learning_rat": 1, "sead": 2},
                 "learning_rat (did you mean 'learning_rate'?), sead (did", id="unknown keys"),
    pytest.param({"task_options": {"path": "data.jsonl", "limt": 3}}, "did you mean 'limit'?", id="unknown option"),
    pytest.param({"task_options": {"path": "data.jsonl", "heldout_size": 20}},
                 "leaves none to train on", id="all held out"),
    pytest.param({"remove_unused_columns": True}, "remove_unused_columns=True: need false", id="columns are cut"),
]  # fmt: skip


@pytest.mark.parametrize("command", ["plan", "train"])
@pytest.mark.parametrize(("changes", "message"), RECIPES)
def test_a_malformed_recipe(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, changes: dict[str, Any], message: str
) -> None:
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE | changes))
    if "no-weights" in str(changes) and command == "plan":
        pytest.skip("a plan needs no weights")
    assert message in refusal([command, "recipe.yaml"], folder, capsys)


def test_weights_that_are_not_there_are_missed_by_training_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"model_name_or_path": "./no-weights"}))
    assert cli.main(["plan", "recipe.yaml"]) == 0
    assert "no-weights'" in refusal(["train", "recipe.yaml"], folder, capsys)


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


GOOD = [{"question": f"{n}?", "answer": n} for n in range(9)]
DATA = [
    pytest.param("d.jsonl", b"", {}, "0 usable rows", id="empty"),
    pytest.param("d.jsonl", b"\n\n", {}, "0 usable rows", id="empty lines"),
    pytest.param("d.jsonl", b"{nonsense", {}, "not JSON", id="no JSON"),
    pytest.param("d.jsonl", b"\xff\xfe\x00a", {}, "cannot be read as .jsonl", id="not UTF-8"),
    pytest.param("d.jsonl", b"[" * 100_000, {}, "not JSON", id="deeply nested line"),
    pytest.param("d.json", b"[" * 100_000, {}, "cannot be read as .json", id="deeply nested file"),
    pytest.param("d.json", b'{"question": "a"}', {}, "must be a list of rows", id="an object"),
    pytest.param("d.json", b"[1, 2, 3]", {}, "not a mapping of columns", id="numbers for rows"),
    pytest.param("d.csv", b"", {}, "0 usable rows", id="empty CSV"),
    pytest.param("d.csv", b"question,answer\n", {}, "0 usable rows", id="a head alone"),
    pytest.param("d.csv", b"question,answer\n\"" + b"a" * 200_000, {}, "cannot be read as .csv", id="endless field"),
    pytest.param("d.csv", b"Question,Answer\n1?,2\n2?,3\n", {}, "did you mean 'Question'?", id="capitals in the head"),
    pytest.param("d.parquet", b"PAR1 not really", {}, "cannot be read as .parquet", id="no Parquet"),
    pytest.param("d.txt", b"1 + 1? 2", {}, "need one of .jsonl", id="a text file"),
    pytest.param("d.jsonl", lines(*GOOD[:1]), {}, "1 usable rows", id="one row"),
    pytest.param("d.jsonl", lines(*GOOD[:2]), {}, "heldout_size=2", id="two rows"),
    pytest.param("d.jsonl", lines(*GOOD[:1] * 9), {}, "leaves none to train on", id="one question again"),
    pytest.param("d.jsonl", lines({"q": "1?", "answer": 1}), {}, "has no such column", id="another column"),
    pytest.param("d.jsonl", lines(*GOOD), {"answer_column": "reward.gold"}, "no such column", id="no nested column"),
    pytest.param("d.jsonl", lines(*GOOD), {"answer_pattern": "#### (.+)"}, "finds nothing", id="no marks"),
    pytest.param("d.jsonl", lines(*({"question": f"{n}?", "answer": ["1", "2"]} for n in range(9))), {},
                 "2 answers in 'answer'", id="several golds"),
    pytest.param("d.jsonl", lines(*({"question": [{"role": "user", "content": "a"}] * 2, "answer": 1} for _ in GOOD)),
                 {},
                 "2 messages of the user", id="several turns"),
    pytest.param("d.jsonl", lines(*({"nums": "three", "target": n} for n in range(9))), {}, "no numbers in 'nums'",
                 id="no numbers"),
]  # fmt: skip


@pytest.mark.parametrize("command", ["plan", "train"])
@pytest.mark.parametrize(("name", "content", "options", "message"), DATA)
def test_a_malformed_data_file(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    content: bytes,
    options: dict[str, Any],
    message: str,
) -> None:
    Path(name).write_bytes(content)
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"task_options": {"path": name} | options}))
    assert message in refusal([command, "recipe.yaml"], folder, capsys)
