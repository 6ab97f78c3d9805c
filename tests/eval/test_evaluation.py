"""Evaluations from beginning to end: what is stored, what is asked again, what is said."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

from r1rl import cli
from r1rl.aha.figures import suite
from r1rl.aha.figures.figures import Selection
from r1rl.eval import evaluation, questions, showing, targets
from r1rl.eval.keeping import Samples
from r1rl.eval.local import LocalModel
from r1rl.eval.protocol import Asking, Reply
from r1rl.ground import api_keys, endpoints
from r1rl.ground.errors import RecipeError
from r1rl.store import store
from r1rl.tasks import prompts
from tests.aha.judge.played_endpoint import Asked, Sent, completion, error, playing

QUESTIONS = 12


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(endpoints, "_FIRST_PAUSE", 0.01)
    for name in api_keys.OF_MODELS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sums(tmp_path: Path) -> str:
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": n + 1, "level": 1 + n % 2} for n in range(QUESTIONS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def number_in(asked: Asked) -> int:
    found = re.search(r"What is (\d+) \+ 1", asked.body)
    assert found
    return int(found[1])


def right(asked: Asked, _: int) -> Sent:
    return completion(f"So \\boxed{{{number_in(asked) + 1}}}")


def command(*words: str) -> int:
    return cli.main(["eval", *words, "--retries", "0", "--timeout", "60"])


def stored(folder: Path) -> Counter[tuple[str, int]]:
    rows = store.read(folder, kind="eval", columns=["prompt_id", "sample_idx"]).to_pylist()
    return Counter((row["prompt_id"], row["sample_idx"]) for row in rows)


def test_a_server_that_dies_in_the_middle_and_comes_back(sums: str, tmp_path: Path, capsys) -> None:
    """No question is asked twice, none is missing, and until then the exit code and the table say so."""
    dead = False

    def play(asked: Asked, number: int) -> Sent:
        return error(503, "going down") if dead else right(asked, number)

    with playing(play) as server:

        def evaluate(*more: str) -> int:
            place = ["--task", sums, "--samples", "2", "--name", "e", "--runs-dir", str(tmp_path), "--json"]
            return command(f"{server.url}#m", *place, "--parallel", "1", *more)

        assert evaluate("--limit", "5") == 0
        before = len(server.asked)
        assert before == 10
        dead = True
        assert evaluate("--resume") == 1
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert told["targets"][0]["incomplete"] == QUESTIONS - 5
        assert "503: going down" in told["failure"]
        dead, failed = False, len(server.asked) - before
        assert evaluate("--resume") == 0
        assert len(server.asked) == 2 * QUESTIONS + failed, "what was answered is not asked again"
    (folder,) = [path for path in (tmp_path / "e").iterdir() if path.is_dir()]
    found = stored(folder)
    assert set(found.values()) == {1}
    assert len(found) == 2 * QUESTIONS
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["failure"] is None
    assert told["targets"][0]["avg"]["value"] == 1.0


def test_more_samples_later_are_added_to_those_that_are_there(sums: str, tmp_path: Path) -> None:
    with playing(right) as server:
        words = [f"{server.url}#m", "--task", sums, "--name", "e", "--runs-dir", str(tmp_path)]
        assert command(*words, "--samples", "1") == 0
        assert command(*words, "--samples", "3", "--resume") == 0
        assert len(server.asked) == 3 * QUESTIONS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--temperature", "0.9"], "temperature=0.9: .* was sampled with 0.6", id="temperature"),
        pytest.param(["--instruction", "Answer!"], "instruction='Answer!'", id="prompt"),
        pytest.param(["--extraction", "last-number"], "extraction='last-number'", id="extraction"),
    ],
)
def test_other_settings_are_another_evaluation(words, message, sums: str, tmp_path: Path, capsys) -> None:
    with playing(right) as server:
        place = [f"{server.url}#m", "--task", sums, "--samples", "1", "--name", "e", "--runs-dir", str(tmp_path)]
        assert command(*place) == 0
        assert command(*place, "--resume", *words) == 2
        assert len(server.asked) == QUESTIONS
    assert re.search(message, capsys.readouterr().err)


def test_data_that_changed_is_noticed(sums: str, tmp_path: Path, capsys) -> None:
    with playing(right) as server:
        place = [f"{server.url}#m", "--task", sums, "--samples", "1", "--name", "e", "--runs-dir", str(tmp_path)]
        assert command(*place) == 0
        Path(sums).write_text(Path(sums).read_text().replace('"answer": 3', '"answer": 33'))
        assert command(*place, "--resume") == 2
    assert "has another gold answer" in capsys.readouterr().err


def test_two_targets_are_set_side_by_side_and_shown(sums: str, tmp_path: Path, capsys) -> None:
    def half(asked: Asked, _: int) -> Sent:
        number = number_in(asked)
        return completion(f"\\boxed{{{number + 1 if number % 2 else 99}}}" if number else "no idea", "length")

    with playing(right) as good, playing(half) as bad:
        words = [f"{bad.url}#<b>bad</b>", f"{good.url}#good", "--task", sums, "--samples", "2", "--name", "e"]
        assert command(*words, "--runs-dir", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "good less <b>bad</b>" in out
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    (difference,) = results["comparisons"]
    assert difference["pass_at"][0]["estimate"]["value"] == pytest.approx(0.5)
    assert difference["pass_at"][0]["p"] == pytest.approx(2 / 2**6)
    bad_score = results["targets"][0]
    assert bad_score["truncated"] == 1.0
    assert bad_score["answered"] == pytest.approx(1 - 1 / QUESTIONS)
    levels = bad_score["kinds"]["level"]
    assert {level: kind["pass_at_1"]["value"] for level, kind in levels.items()} == {"1": 0.0, "2": 1.0}
    assert "100 % of the samples were cut off" in out
    page = (tmp_path / "e" / "eval.html").read_text()
    assert "<b>bad" not in page
    assert "<script" not in page
    ElementTree.parse(tmp_path / "e" / "curves.svg")


@pytest.fixture(scope="module")
def countdown(tmp_path_factory):
    """The shipped base on few Countdown problems, asked twice: with another seed it is another policy to compare."""
    place = tmp_path_factory.mktemp("runs")
    asked = questions.find("countdown", {"target_high": 30, "high": 20, "operators": "+-", "style": "short"}, limit=10)
    asking = Asking(
        samples=4, temperature=1.0, top_p=1.0, max_completion_length=64, prompt_template="none", extraction="answer-tag"
    )
    plan = evaluation.Plan(place / "e", targets.parse(["base:countdown"]), asked, asking, [1, 2, 4])
    return plan, evaluation.run(plan)


def test_a_model_of_this_machine_is_sampled_graded_and_stored(countdown) -> None:
    plan, results = countdown
    (score,) = results.scores
    rows = store.read(plan.path / score.label.replace(":", "-"), kind="eval").to_pylist()
    assert len(rows) == 40
    assert {row["kind"] for row in rows} == {"eval"}
    assert all(len(row["token_ids"]) == row["n_tokens"] == len(row["logprobs"]) for row in rows)
    share = sum(row["verdict"] == "correct" for row in rows) / 40
    assert score.avg.value == pytest.approx(share)
    assert score.pass_at[0].value == pytest.approx(share)
    values = [estimate.value for estimate in score.pass_at]
    assert values == sorted(values)
    assert 0 < share < 1


def test_success_by_reasoning_that_does_not_hold_counts_less(countdown) -> None:
    _, results = countdown
    (score,) = results.scores
    assert score.cot_pass_at is not None
    assert all(c.value <= p.value for c, p in zip(score.cot_pass_at, score.pass_at, strict=True))


def test_aha_and_inspect_open_what_was_stored(countdown) -> None:
    from r1rl.inspect import run_data, summary

    plan, results = countdown
    folder = plan.path / "base-countdown"
    (measured,) = suite.measure([folder], Selection("eval"))
    assert measured.rows["accuracy"].last.value == pytest.approx(results.scores[0].avg.value)
    told = summary.summarise(run_data.load(folder))
    assert told["heldout_prompts"] == 10


def test_the_same_draws_whatever_else_is_asked(countdown, tmp_path: Path) -> None:
    plan, _ = countdown
    fewer = questions.Questions(plan.questions.task, plan.questions.options, plan.questions.rows[3:5], 0)
    again = evaluation.Plan(tmp_path / "f", plan.targets, fewer, plan.asking, [1])
    evaluation.run(again)
    texts = [
        {
            (row["prompt_id"], row["sample_idx"]): row["completion"]
            for row in store.read(place / "base-countdown", kind="eval").to_pylist()
        }
        for place in (plan.path, again.path)
    ]
    assert texts[1].items() <= texts[0].items()
    assert len(texts[1]) == 8


def test_terminal_and_page_say_the_protocol(countdown, capsys) -> None:
    from rich.console import Console

    plan, results = countdown
    showing.print_results(results, Console(width=200))
    out = capsys.readouterr().out
    assert "countdown: 10 questions × 4 samples, temperature 1, top-p 1" in out
    assert "CoT-pass@4" in out
    page = showing.write_page(results, plan.path).read_text()
    assert "data:image/svg+xml" in page


class Silent:
    """An answerer that is never asked."""

    prompt = prompts.get("none")
    extraction, temperature, top_p, length = "answer-tag", 1.0, 1.0, 8

    def answer(self, *_: object) -> None:
        raise AssertionError


def test_what_was_not_put_away_is_asked_again(tmp_path: Path) -> None:
    row = {
        "prompt": "Q", "prompt_id": "q", "gold": "4", "meta": "{}", "verifier": "math", "task": "t", "template": "none",
        "prefill": "",
    }  # fmt: skip
    first = Samples(tmp_path, 0, [row], Silent(), 3, 0)
    asks = first.missing()
    first.add(asks[0], Reply("<answer>4</answer>", "eos"))
    first.put_away()
    first.add(asks[1], Reply("<answer>5</answer>", "eos"))
    again = Samples(tmp_path, 0, [row], Silent(), 3, 0)
    assert [ask.sample for ask in again.missing()] == [1, 2]
    again.add(asks[1], Reply("<answer>5</answer>", "eos"))
    again.put_away()
    rows = store.read(tmp_path, kind="eval").to_pylist()
    assert [(r["sample_idx"], r["verdict"], r["n_tokens"]) for r in rows] == [(0, "correct", None), (1, "wrong", None)]
    assert {r["group_id"] for r in rows} == {"eval-0-0"}


def test_a_prompt_that_leaves_less_room_gets_less(monkeypatch) -> None:
    class Config:
        @staticmethod
        def get_text_config():
            return type("Text", (), {"max_position_embeddings": 20})

    model = LocalModel(type("M", (), {"config": Config})(), None, None, prompts.get("none"), "boxed", 1.0, 1.0, 15)
    assert model._room([[1] * 4]) == 15
    assert model._room([[1] * 12]) == 8
    with pytest.raises(RecipeError, match="prompt of 20 tokens: the model has 20 positions"):
        model._room([[1] * 20])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["base:countdown"], "task: say what is to be asked", id="no task"),
        pytest.param(["base:countdwn", "--task", "countdown"], "unknown base; did you mean", id="no such model"),
        pytest.param(["base:countdown", "--task", "gsm"], "unknown task, .* did you mean 'gsm8k'", id="no such task"),
        pytest.param(["base:countdown", "--task", "a.jsonl"], "no such file", id="no such file"),
        pytest.param(["base:countdown", "--task", "countdown", "--step", "3"], "only runs have steps", id="steps"),
        pytest.param(["base:countdown", "--task", "countdown", "--k", "99"], "k=99: need 1 to 16", id="k"),
        pytest.param(["base:countdown", "--task", "countdown", "--samples", "0"], "samples=0", id="no samples"),
        pytest.param(["base:countdown", "--task", "countdown", "--resume"], "say which evaluation", id="resume what"),
        pytest.param(["http://x/v1", "--task", "countdown"], "say which model", id="no model"),
        pytest.param(["http://x/v1#m", "--task", "countdown", "--max-cost", "5"], "--price", id="cost without a price"),
        pytest.param(
            ["base:countdown", "--task", "countdown", "--task_options.size", "3"], "task_options.size: unknown key",
            id="option",
        ),
        pytest.param(
            ["base:countdown", "--task", "countdown", "--greedy", "--samples", "4"], "greedy samples are all the same",
            id="greedy",
        ),
        pytest.param(
            ["base:countdown", "--task", "countdown", "--prompt-template", "r1zero"], "did you mean 'r1-zero'", id="t",
        ),
        pytest.param(["base:countdown", "base:countdown", "--task", "countdown"], "named twice", id="twice"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_line_and_leave_nothing_behind(words, message, tmp_path: Path, capsys) -> None:
    assert cli.main(["eval", *words, "--runs-dir", str(tmp_path / "runs")]) == 2
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_benchmark_is_asked_its_test_split_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"#### {n}"}) + "\n" for n in range(20)))
    found = questions.find("gsm8k", {"path": str(path)})
    assert [row.gold for row in found.rows] == [str(n) for n in range(20)]
    few, more = (questions.find("gsm8k", {"path": str(path)}, limit=n).rows for n in (4, 9))
    assert more[:4] == few
    heldout = questions.find("file", {"path": str(path), "answer_pattern": "#### (.+)"}, heldout=3)
    assert len(heldout.rows) == 3
