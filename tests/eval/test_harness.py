"""lm-eval as the one that asks and grades, by a stand-in that is started as it is and writes what it writes."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from r1rl import cli
from r1rl.eval import harness, targets
from r1rl.ground.errors import RecipeError, RunFailedError

STAND_IN = """
import json, os, pathlib, sys
words = sys.argv[1:]
options = dict(zip(words, words[1:]))
print("asking")
if options["--tasks"] == "broken":
    sys.exit(3)
folder = pathlib.Path(options["--output_path"]) / "a__model"
folder.mkdir(parents=True, exist_ok=True)
with open(os.environ["SEEN"], "a") as stream:
    stream.write(json.dumps([words, os.environ.get("OPENAI_API_KEY")]) + "\\n")
figures = {"alias": "sums", "exact_match,strict": 0.25, "exact_match_stderr,strict": 0.1, "ppl,none": 7.5,
           "ppl_stderr,none": "N/A"}
(folder / "results_2026-01-01T00-00-00.json").write_text(
    json.dumps({"results": {options["--tasks"]: figures}, "n-samples": {options["--tasks"]: {"effective": 40}}}))
"""


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """Where the stand-in says how it was started; it takes lm-eval's place."""
    package = tmp_path / "stand_in" / "lm_eval"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(textwrap.dedent(STAND_IN))
    import os

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setattr(harness, "check", lambda: None)
    return tmp_path / "seen"


def started(seen: Path) -> list[list[str]]:
    return [json.loads(line)[0] for line in seen.read_text().splitlines()]


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return str(folder)


def ask(tmp_path: Path, *words: str) -> int:
    return cli.main(["eval", *words, "--harness", "lm-eval", "--runs-dir", str(tmp_path), "--name", "e"])


def test_a_model_is_handed_over_and_its_figures_are_shown_and_kept(seen, model, tmp_path, capsys) -> None:
    assert ask(tmp_path, model, "--task", "gsm8k", "--limit", "4", "--harness-args", "--num_fewshot 5") == 0
    (words,) = started(seen)
    assert words[:6] == ["--model", "hf", "--model_args", f"pretrained={model},dtype=auto", "--tasks", "gsm8k"]
    assert "--limit 4 --seed 0 --log_samples --num_fewshot 5" in " ".join(words)
    assert "--gen_kwargs" not in words, "the task's own protocol, where nothing is said"
    out = capsys.readouterr().out
    assert "exact_match (strict)" in out
    assert "25.0 % [5.4, 44.6]" in out
    assert "7.5" in out
    assert "asking" not in out, "what lm-eval prints is not the result"
    kept = json.loads((tmp_path / "e" / "results.json").read_text())
    assert kept["figures"][0]["estimate"]["value"] == 0.25
    assert "25.0 %" in (tmp_path / "e" / "eval.html").read_text()
    assert list((tmp_path / "e").rglob("results_*.json"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(["--greedy"], "do_sample=False", id="greedy"),
        pytest.param(["--temperature", "0.6"], "do_sample=True,temperature=0.6", id="one setting leaves the other"),
        pytest.param(["--top-p", "0.9", "--max-completion-length", "64"],
                     "do_sample=True,top_p=0.9,max_gen_toks=64", id="its own word for the length"),
    ],
)  # fmt: skip
def test_what_is_said_of_sampling_is_passed_on(seen, model, tmp_path, given, expected) -> None:
    assert ask(tmp_path, model, "--task", "gsm8k", *given) == 0
    (words,) = started(seen)
    assert words[words.index("--gen_kwargs") + 1] == expected


def test_an_endpoint_is_asked_in_chats_with_the_key_of_the_environment(seen, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("R1RL_EVAL_KEY", "sk-secret")
    assert ask(tmp_path, "http://127.0.0.1:9/v1#m", "--task", "gsm8k") == 0
    ((words, key),) = [json.loads(line) for line in seen.read_text().splitlines()]
    assert words[1] == "local-chat-completions"
    assert "base_url=http://127.0.0.1:9/v1/chat/completions" in words[3]
    assert "--apply_chat_template" in words
    assert key == "sk-secret"
    assert "sk-secret" not in " ".join(path.read_text() for path in (tmp_path / "e").rglob("*.json"))


def test_a_task_of_a_file_goes_by_its_own_name(seen, model, tmp_path) -> None:
    (tmp_path / "t.yaml").write_text("task: sums\ndoc_to_text: !function its.own\n")
    assert ask(tmp_path, model, "--task", str(tmp_path / "t.yaml")) == 0
    (words,) = started(seen)
    assert words[words.index("--tasks") + 1] == "sums"
    assert words[words.index("--include_path") + 1] == str(tmp_path)


def test_resumed_only_what_is_missing_is_asked(seen, model, tmp_path) -> None:
    assert ask(tmp_path, model, "--task", "gsm8k") == 0
    assert ask(tmp_path, model, "http://127.0.0.1:9/v1#m", "--task", "gsm8k", "--resume") == 0
    assert [words[1] for words in started(seen)] == ["hf", "local-chat-completions"]
    with pytest.raises(RecipeError, match="another --name, or the same words"):
        harness.run(harness.Plan(tmp_path / "e", targets.parse([model]), "gsm8k", limit=2), resume=True)


def test_a_failure_of_lm_eval_is_one_of_ours(seen, model, tmp_path, capsys) -> None:
    assert ask(tmp_path, model, "--task", "broken") == 1
    assert "lm-eval ended with exit code 3" in capsys.readouterr().err


def test_without_lm_eval_the_error_says_how_to_get_it(model, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert ask(tmp_path, model, "--task", "gsm8k") == 2
    assert "pip install 'r1rl[harness]'" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--samples", "4"], "samples: lm-eval asks and grades", id="its tasks say how often"),
        pytest.param(["--extraction", "boxed"], "extraction: lm-eval", id="its filters find the answer"),
        pytest.param(["--task", "nowhere.yaml"], "no such file", id="no such task file"),
    ],
)
def test_what_the_harness_decides_is_refused(seen, model, tmp_path, words, message, capsys) -> None:
    assert ask(tmp_path, model, "--task", "gsm8k", *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "error", "asked", "expected"),
    [
        pytest.param(0.5, 0.1, 40, (0.304, 0.696), id="1.96 standard errors"),
        pytest.param(0.1, 0.1, 40, (0.0, 0.296), id="a share is none below 0"),
        pytest.param(7.5, 1.0, 40, (5.54, 9.46), id="a figure that is no share"),
        pytest.param(0.0, 0.0, 40, (None, None), id="all questions say the same"),
        pytest.param(0.5, 0.1, 4, (None, None), id="too few questions"),
        pytest.param(0.5, "N/A", 40, (None, None), id="no standard error"),
    ],
)
def test_intervals(tmp_path, value, error, asked, expected) -> None:
    figures = {"acc,none": value, "acc_stderr,none": error}
    content = {"results": {"t": figures}, "n-samples": {"t": {"effective": asked}}}
    (tmp_path / "results_1.json").write_text(json.dumps(content))
    (figure,) = harness.read(tmp_path, "m")
    low, high = figure.estimate.low, figure.estimate.high
    assert (low, high) == (expected if expected == (None, None) else pytest.approx(expected))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[]", id="no object"),
        pytest.param('{"results": {"t": {"acc,none": []}}}', id="no number"),
        pytest.param("{", id="torn off"),
    ],
)
def test_results_that_are_none(tmp_path, content) -> None:
    (tmp_path / "results_1.json").write_text(content)
    with pytest.raises(RunFailedError, match="is not what lm-eval writes"):
        harness.read(tmp_path, "m")
