"""r1rl data and r1rl try on small files and the shipped base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1rl import cli, tasks
from r1rl.eval import passrates
from r1rl.ground.errors import RecipeError
from r1rl.store import store


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))


def lines(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return str(path)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


QUESTION = "Ann has {} marbles and gives 5 of them to her brother. How many marbles does Ann have left over?"


@pytest.fixture
def train(tmp_path: Path) -> str:
    rows = [{"question": QUESTION.format(n), "answer": n - 5, "more": [n]} for n in range(10, 20)]
    return lines(tmp_path / "train.jsonl", rows)


def test_decontaminate_writes_what_is_left_and_what_is_not_and_why(train: str, tmp_path: Path, capsys) -> None:
    against = lines(
        tmp_path / "bench.jsonl",
        [{"question": QUESTION.format(n).upper(), "answer": "1"} for n in (12, 15, 99)],
    )
    clean = tmp_path / "clean.jsonl"
    assert cli.main(["data", "decontaminate", train, "--against", against, "--to", str(clean)]) == 0
    assert [each["more"] for each in read(clean)] == [[n] for n in range(10, 20) if n not in (12, 15)]
    removed = read(tmp_path / "clean.jsonl.removed.jsonl")
    assert [(each["prompt_id"], each["same_as"]) for each in removed] == [
        ("train:3", "bench:1"),
        ("train:6", "bench:2"),
    ]
    assert removed[0]["why"] == "the same words and numbers, spelt otherwise"
    assert "8 kept, 2 left out" in capsys.readouterr().out


def test_duplicates_keep_the_first(tmp_path: Path, capsys) -> None:
    rows = [{"question": QUESTION.format(n % 3), "answer": n % 3} for n in range(9)]
    assert cli.main(["data", "duplicates", lines(tmp_path / "d.jsonl", rows), "--to", str(tmp_path / "e.jsonl")]) == 0
    assert len(read(tmp_path / "e.jsonl")) == 3
    assert "3 kept, 6 left out" in capsys.readouterr().out


def test_head_lengths_and_gold(train: str, capsys) -> None:
    assert cli.main(["data", "head", train, "-n", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["gold"] == "5"
    assert cli.main(["data", "lengths", train, "--model", "base:countdown"]) == 0
    assert "10 questions, tokens of base:countdown" in capsys.readouterr().out
    assert cli.main(["data", "gold", train]) == 0
    assert "10 of 10 gold answers are usable by the verifier math" in capsys.readouterr().out


def rollout(prompt_id: str, sample: int, verdict: str) -> dict:
    return {
        "run": "r", "policy_step": 0, "prompt_id": prompt_id, "group_id": prompt_id, "sample_idx": sample, "task": "t",
        "template": "none", "prompt": "Q", "prefill": "", "completion": "A", "n_tokens": 1, "finish_reason": "eos",
        "gold": "1", "meta": "{}", "verifier": "math", "verdict": verdict, "verdict_reason": "", "temperature": 1.0,
        "top_p": 1.0, "cap": 8, "wall_time": 0.0,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Question k of train.jsonl was answered rightly k - 1 times of 9, over two shards; one could not be judged."""
    for rank, samples in enumerate((range(4), range(4, 9))):
        rows = [rollout(f"train:{k}", s, "correct" if s < k - 1 else "wrong") for k in range(1, 11) for s in samples]
        store.write_shard(tmp_path / "run", [*rows, rollout("bad", rank, "bad_gold")], kind="train", step=0, rank=rank)
    return tmp_path / "run"


def test_pass_rates_are_counted_over_shards_and_keep_a_band_in_a_recipe(
    run: Path, train: str, tmp_path, capsys
) -> None:
    rates = tmp_path / "rates.jsonl"
    assert cli.main(["data", "passrate", str(run), "--to", str(rates)]) == 0
    assert "10 questions, 90 rollouts, 50.0% right" in capsys.readouterr().out
    assert {each["prompt_id"]: each["correct"] for each in read(rates)} == {f"train:{k}": k - 1 for k in range(1, 11)}
    task = tasks.get("file", path=train, pass_rates=str(rates), pass_low=0.2, pass_high=0.7)
    assert [row.prompt_id for row in task.every_row()] == [f"train:{k}" for k in range(3, 8)]


def test_bands_count_every_question_once() -> None:
    counts = {str(correct): [10, correct] for correct in range(11)}
    assert passrates.bands(counts) == [
        ("never", 1), ("up to 20 %", 2), ("up to 50 %", 3), ("up to 80 %", 3), ("more", 1), ("always", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"pass_rates": "nowhere.jsonl"}, "no such file; `r1rl data passrate", id="no file"),
        pytest.param({"pass_low": 0.9, "pass_high": 0.1}, "need 0 <= low <= high", id="band"),
    ],
)
def test_bad_bands(options: dict, message: str, train: str) -> None:
    with pytest.raises(RecipeError, match=message):
        tasks.get("file", path=train, **options).every_row()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["decontaminate", "FILE"], "say from what", id="against nothing"),
        pytest.param(["lengths", "FILE"], "say whose tokens", id="no model"),
        pytest.param(["head", "nothing"], "unknown task", id="no task"),
        pytest.param(["head", "FILE", "more"], "unexpected more", id="two tasks"),
        pytest.param(["passrate", "nowhere"], "no such run folder", id="no run"),
        pytest.param(["duplicates", "FILE", "--to", "nowhere/x.jsonl"], "no such folder", id="no folder"),
    ],
)
def test_mistakes_are_told_in_a_line(words: list[str], message: str, train: str, capsys) -> None:
    assert cli.main(["data", *(train if word == "FILE" else word for word in words)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


TRY = ["try", "base:countdown", "Use 3, 5, 7 to make 1.", "--prompt-template", "none", "--max-completion-length", "40"]


def test_try_streams_what_sampling_gives(capsys) -> None:
    """The stream goes token by token, the samples through the engine: with the same draws they say the same."""
    assert cli.main(TRY) == 0
    streamed = capsys.readouterr().out
    assert cli.main([*TRY, "--samples", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["thoughts"]
    assert said["thoughts"] in streamed
    assert said["rest"] in streamed


def test_try_shows_thoughts_apart_from_answers(capsys) -> None:
    assert cli.main([*TRY, "--samples", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("thought:") == out.count("said:") == 3


def test_try_says_how_to_serve(capsys) -> None:
    assert cli.main(["try", "base:countdown", "--serve"]) == 0
    assert "transformers serve /" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["base:countdown"], "question: ask something", id="no question"),
        pytest.param(["http://x/v1#m", "Q"], "need a run or a model of this machine", id="an address"),
        pytest.param(["base:countdown", "Q", "--samples", "0"], "samples=0", id="none"),
        pytest.param(["base:countdown", "Q", "--step", "3"], "only runs have steps", id="step"),
    ],
)
def test_mistakes_of_try(words: list[str], message: str, capsys) -> None:
    assert cli.main(["try", *words]) == 2
    assert message in capsys.readouterr().err
