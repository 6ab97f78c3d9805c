from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from r1rl import cli
from r1rl.aha.validate import validation
from r1rl.aha.validate.validation import figure
from r1rl.inspect.samples import ending, middle
from r1rl.inspect.summary import duration
from r1rl.inspect.terminal import print_summary, sparkline
from r1rl.store.store import write_shard


def printed(run: Path, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_summary(run, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_figure_stands_in_the_table(run_dir: Path) -> None:
    text = " ".join(printed(run_dir).split())
    assert "right answers, greedy 25.0 % 75.0 % +50.0 (" in text
    assert "right answers 37.5 % 87.5 % +50.0 (" in text
    assert "retried after a miss 33.3 % 80.0 % +46.7 (" in text
    assert "went wrong → right 12.5 % 50.0 % +37.5 (" in text
    assert "reward, training steps 0.000 0.950 +0.950" in text
    assert "step 0 step 20 change (95 %) adj. p" in text


def test_it_ends_with_the_conclusion_that_aha_prints(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(run_dir, 160)
    assert cli.main(["aha", str(run_dir)]) == 0
    table, line, conclusion = capsys.readouterr().out.rpartition("retries: from")
    assert line, table
    assert "over an independent redraw" in conclusion
    assert " ".join(text.split()).endswith(" ".join((line + conclusion).split()))


def test_detectors_stand_with_precision_and_recall(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(printed(run_dir, 200).split())
    attempts = (
        f"attempts (retried, retried after a miss, first attempt right): on hand-labelled rollouts {figure('attempts')}"
    )
    assert attempts in text
    resting = "went wrong → right, went right → wrong, retry lift over a redraw"
    assert f"transitions ({resting}): on hand-labelled rollouts {figure('transitions')}" in text
    assert f"{figure('markers: strict')}" in text
    assert "on free text" not in text
    monkeypatch.setattr(validation, "stored", lambda: {"detector_version": None, "scores": []})
    assert printed(run_dir, 200).count("precision and recall not measured") == 3


def test_samples_say_how_many_there_are_and_how_they_were_chosen(run_dir: Path) -> None:
    text = " ".join(printed(run_dir).split())
    assert "wrong → right 12 of 24 held-out rollouts at step 20" in text
    assert "right first time 9 of 24" in text
    assert "wrong 3 of 24" in text
    assert text.count("drawn at random among them") == 3


def test_attempts_are_marked_where_they_end(run_dir: Path) -> None:
    text = " ".join(printed(run_dir).split())
    corrected = text[text.index("wrong → right 12 of 24") : text.index("right first time")]
    assert corrected.index("✗") < corrected.index("wait") < corrected.index("✓")
    missed = text[text.index("wrong 3 of 24") :]
    assert "✗" in missed
    assert "✓" not in missed


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_width_breaks_it(run_dir: Path, width: int) -> None:
    assert max(map(len, printed(run_dir, width).splitlines())) <= width


def test_model_text_is_neither_markup_nor_control_sequence(hostile_run: Path) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor")
    print_summary(hostile_run, console)
    assert isinstance(console.file, io.StringIO)
    raw = console.file.getvalue()
    # rich itself writes only colours and, were markup obeyed, links (OSC 8).
    assert set(re.findall(r"\x1b(.)", raw)) == {"["}
    assert set(re.findall(r"\x1b\[[0-9;]*(.)", raw)) == {"m"}
    assert not set(raw) & set("\x00\x07\u202e\u2028")
    # Without the colours, a text that was wrapped over lines and styled in pieces is whole again.
    plain = "".join(re.sub(r"\x1b\[[0-9;]*m", "", raw).split())
    for text in (
        "[boldred]loud[/]",
        "[link=file:///etc/passwd]here[/link]",
        "[/nothing]",
        "\\x1b[31mred",
        "\\u202e",
    ):
        assert text in plain


def test_a_run_of_one_evaluation_is_not_compared(run_dir: Path) -> None:
    for step in (10, 20):
        for shard in (run_dir / "rollouts").glob(f"*-{step:06d}-*"):
            shard.unlink()
    text = " ".join(printed(run_dir, 200).split())
    assert "One evaluation so far (step 0)" in text
    assert "step 0 detector P / R" in text, "one column of figures, and none of changes"
    assert "not right step 0: " in text
    assert "· step 0: " not in text, "why rollouts were not right is said once"
    assert "right answers, greedy 25.0 %" in text
    assert "reward, training steps" not in text, "it has a first and a last step, and here is one column"


def test_a_rollout_is_called_what_the_outcomes_count(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, Any]]]
) -> None:
    rows = make_sampled(20)
    for row in rows:
        row |= {"verdict": "unparseable", "verdict_reason": "no <answer>", "finish_reason": "length"}
    write_shard(run_dir, rows, kind="eval", step=20, rank=0)
    text = " ".join(printed(run_dir).split())
    assert "step 20: truncated 100.0%" in text
    assert "verdict truncated (no <answer>)" in text
    assert "unparseable" not in text


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([0.0, 1.0], 10, "▁█"),
        ([1.0, 1.0, 1.0], 10, "▁▁▁"),
        ([0, 0, 7, 7], 2, "▁█"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
    ],
    ids=["ends", "constant", "averaged", "every block"],
)
def test_sparkline(values: list[float], width: int, line: str) -> None:
    assert sparkline(values, width) == line


def test_long_texts_are_cut() -> None:
    assert middle("a" * 10 + "b" * 10, 6) == "aaa … bbb"
    assert middle("short", 5) == "short"
    assert ending("template question", 8) == "… question"


@pytest.mark.parametrize(
    ("seconds", "text"), [(61.5, "62 s"), (600, "10 min"), (3725, "1 h 2 min"), (7170, "2 h 0 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_sample_stands_before_and_after(run_dir: Path) -> None:
    text = " ".join(printed(run_dir, 200).split())
    told = "before and after 12 of 24 held-out samples were wrong before and are right after; one drawn at random"
    _, found, shown = text.partition(told)
    assert found
    before, after = shown.split("step 20", 1)
    assert re.search(r"Use [0-9, ]+ to make [0-9]+\. step 0 <think>.*✗", before)
    assert re.match(r" <think>.*✓.*</answer>", after)
