"""The command `r1rl judge` on a run that is really there, with an endpoint that really answers."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r1rl import cli
from r1rl.aha.judge.endpoint import KEYS
from r1rl.store import store
from tests.aha.annotated_runs import rollout
from tests.aha.judge.played_endpoint import Asked, Sent, by_words, completion, error, labelled, playing

ROOT = Path(__file__).resolve().parents[2]
RETRIED = "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + {} </answer>"
FIRST = "<think> 1 + 2 = 3 , 3 - 3 = 0 </think> <answer> 1 + 2 - {} </answer>"


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    run = tmp_path / "it's a run"
    for step, share in ((0, 0.25), (10, 0.5), (20, 0.75)):
        rows = [
            rollout(
                f"p{prompt}", sample, completion=(RETRIED if sample < 4 * share else FIRST).format(f"{prompt}{step}")
            )
            for prompt in range(15)
            for sample in range(4)
        ]
        store.write_shard(run, rows, kind="eval", step=step, rank=0)
    return run


def judge(run: Path, url: str | None, *words: str, model: str = "org/judge") -> int:
    to = [] if url is None else ["--url", url]
    return cli.main(["judge", str(run), *to, "--model", model, "--workers", "1", *words])


def test_the_tables(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with playing(by_words) as played:
        assert judge(run_dir, played.url, "--sample", "90") == 0
    shown = capsys.readouterr().out
    for text in ("judge org/judge", "90 of 90 eval rollouts judged · ", " prompts · 3 steps",
                 "Void claims, left out: 0",
                 "checks itself", "a goal test", "tries again", "more than one attempt", "reflective words alone",
                 "1.00 (1.00 … 1.00)"):  # fmt: skip
        assert text in shown, text


def test_the_same_command_again_sends_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with playing(by_words) as played:
        assert judge(run_dir, played.url, "--json") == 0
        first = json.loads(capsys.readouterr().out)
        sent = len(played.asked)
        assert 0 < sent < 180  # alike texts are asked once
        assert judge(run_dir, played.url, "--json") == 0
        assert judge(run_dir, None, "--json") == 0
        again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(played.asked) == sent
    assert again == [first, first]
    retry = first["agreement"]["detector"]["retry"]
    assert (retry["agree"], retry["kappa"]["value"]) == (1.0, 1.0)
    assert (retry["both"], retry["neither"]) == (90, 90)
    assert first["steps"] == {"0": 60, "10": 60, "20": 60}
    assert first["rollouts"] == first["judged"] == 180


def test_order_mixes_the_steps(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with playing(by_words) as played:
        assert judge(run_dir, played.url, "--sample", "60", "--parallel", "1") == 0
    answers = [asked.text.split("</answer>")[0].split()[-1] for asked in played.asked]
    steps = [text[-2:] if text[-2:] in ("10", "20") else "0" for text in answers]
    changes = sum(a != b for a, b in itertools.pairwise(steps))
    assert changes > len(steps) / 3


def test_a_second_judge_is_compared_with_the_first(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with playing(by_words) as played:
        assert judge(run_dir, played.url, "--sample", "60") == 0
    with playing(lambda *_: completion(labelled())) as played:
        assert judge(run_dir, played.url, "--sample", "60", model="sceptic") == 0
        shown = capsys.readouterr().out
        assert "judge beside org/judge" in shown
        assert judge(run_dir, played.url, "--sample", "60", "--json", model="sceptic") == 0
    found = json.loads(capsys.readouterr().out)["agreement"]["org/judge"]["retry"]
    assert found["both"] == found["judge_only"] == 0
    assert found["other_only"] + found["neither"] == 60
    assert found["kappa"]["value"] == 0


def test_invented_quotes_and_garbage_are_counted(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def play(asked: Asked, number: int) -> Sent:
        if number % 3 == 0:
            return completion("I think it checks itself.")
        if number % 3 == 1:
            return completion(labelled(retry="\x1b[31m[bold]never written[/bold]\nsecond line"))
        return by_words(asked, number)

    with playing(play) as played:
        assert judge(run_dir, played.url, "--sample", "30", "--parallel", "1") == 0
    captured = capsys.readouterr()
    assert " not JSON." in captured.out
    assert " invented quote." in captured.out
    assert "\x1b" not in captured.out


@pytest.mark.parametrize(
    ("sent", "match"),
    [
        pytest.param(error(401, "no key"), "HTTP 401: no key (see the key in R1RL_JUDGE_KEY)", id="no key"),
        pytest.param(
            error(404, "no model org/judge"), "HTTP 404: no model org/judge (see --model, and --url", id="no model"
        ),
        pytest.param(Sent(b"<html>hello</html>"), "HTTP 200, but no JSON", id="another server"),
        pytest.param(error(400, "bad request"), "HTTP 400: bad request", id="refused"),
    ],
)
def test_failures_are_one_line_and_code_1(
    run_dir: Path, sent: Sent, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with playing(lambda *_: sent) as played:
        assert judge(run_dir, played.url, "--retries", "0") == 1
        few = judge(run_dir, played.url, "--retries", "0", "--sample", "2")
    captured = capsys.readouterr()
    assert few == 1
    for line in captured.err.splitlines():
        assert line.startswith("error: ")
        assert match in line
    assert captured.err.count("\n") == 2
    assert captured.out == ""


@pytest.mark.parametrize(
    ("words", "match"),
    [
        pytest.param(["--where", "stp = 1"], "stp", id="condition"),
        pytest.param(["--where", "step = 7"], "no eval rollouts", id="no rollouts"),
        pytest.param(["--kind", "train"], "no train rollouts", id="kind"),
        pytest.param(["--sample", "0"], "sample=0: need >= 1", id="sample"),
        pytest.param(["--url", "http://127.0.0.1:1/v1", "--parallel", "0"], "parallel=0: need >= 1", id="parallel"),
        pytest.param(["--url", "example.org"], "url='example.org': need a base", id="url"),
        pytest.param([], "none of these 180 rollouts was judged by it: ask it with --url", id="nothing known"),
    ],
)
def test_errors_are_one_line_and_code_2(
    run_dir: Path, words: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(run_dir, None, *words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert match in captured.err
    assert "Traceback" not in captured.err


def test_no_run_and_a_bad_key(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judge(run_dir / "none", "http://127.0.0.1:1/v1") == 2
    monkeypatch.setenv(KEYS[0], "se cret")
    assert judge(run_dir, "http://127.0.0.1:1/v1") == 2
    err = capsys.readouterr().err
    assert "R1RL_JUDGE_KEY: holds a blank" in err
    assert "cret" not in err
    assert err.count("\n") == 2


def test_ctrl_c_in_a_real_process(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends at once, with what was answered on disk and nothing of the key; the same command asks the rest."""

    def play(asked: Asked, number: int) -> Sent:
        time.sleep(0.1 if number < 6 else 90)
        return by_words(asked, number)

    words = ["judge", str(run_dir), "--model", "org/judge", "--sample", "60", "--workers", "1", "--url"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), KEYS[0]: "sk-very-secret"}
    with playing(play) as played:
        process = subprocess.Popen(
            [sys.executable, "-m", "r1rl.cli", *words, played.url],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until = time.monotonic() + 300
        while len(played.asked) < 10 and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=80)
        assert time.monotonic() - began < 10
        assert (process.returncode, out, err.strip()) == (130, "", "interrupted")
        assert {asked.headers["authorization"] for asked in played.asked} == {"Bearer sk-very-secret"}
    kept = (run_dir / "annotations" / "judge").glob("*.jsonl")
    lines = [line for path in kept for line in path.read_text().splitlines()]
    assert len(lines) == 6
    assert "sk-very-secret" not in "".join(lines)
    with playing(by_words) as played:
        assert cli.main([*words, played.url, "--json"]) == 0
        texts = {asked.text for asked in played.asked}
    assert json.loads(capsys.readouterr().out)["judged"] == 60
    assert len(texts) == len(played.asked)
    with playing(by_words) as fresh:
        assert cli.main([*words, fresh.url, "--model", "another"]) == 0
        assert len(fresh.asked) == len(played.asked) + 6
