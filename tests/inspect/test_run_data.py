from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from r1rl.inspect.run_data import load, numbers
from r1rl.store.store import write_shard


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run=.*nowhere: no such folder"):
        load(tmp_path / "nowhere")


def test_a_missing_folder_gets_its_neighbours_proposed(run_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"such as .*toy"):
        load(run_dir.parent / "tyo")


@pytest.mark.parametrize("contents", [[], ["notes.txt"]], ids=["empty folder", "some other folder"])
def test_a_folder_that_is_no_run(tmp_path: Path, contents: list[str]) -> None:
    for name in contents:
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=r"no run folder, it has neither recipe\.yaml nor rollouts/"):
        load(tmp_path)


def test_a_folder_of_runs_names_them(run_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"such as .*toy"):
        load(run_dir.parent)


def test_a_run_without_evaluations(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="no complete evaluation of the held-out prompts yet"):
        load(make_run(tmp_path / "young", evaluations=False))


def test_a_run_without_any_shard(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("seed: 1\n")
    with pytest.raises(ValueError, match="no complete evaluation of the held-out prompts yet"):
        load(tmp_path)


def test_a_torn_last_line_is_ignored(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 21, "rewa')
    assert [line["step"] for line in load(run_dir).metrics] == list(range(1, 21))


def test_a_last_line_torn_inside_a_character_is_ignored(run_dir: Path) -> None:
    with (run_dir / "events.jsonl").open("ab") as stream:
        stream.write('{"step": 21, "event": "é'.encode()[:-1])
    assert len(load(run_dir).events) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 2, "rewa', r"metrics\.jsonl:2: no JSON object"),
        ("[1, 2]", r"metrics\.jsonl:2: no JSON object but"),
        ('{"reward": 1.0}', r"metrics\.jsonl:2: step=None: need a number"),
        ('{"step": "two"}', r"metrics\.jsonl:2: step='two'"),
    ],
    ids=["cut short", "a list", "no step", "a step in words"],
)
def test_a_bad_line_in_the_middle_is_reported(run_dir: Path, line: str, message: str) -> None:
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message):
        load(run_dir)


@pytest.mark.parametrize("name", ["recipe.yaml", "environment.json", "result.json"])
@pytest.mark.parametrize("text", ["{ : [", "- a\n- b\n"], ids=["broken", "no mapping"])
def test_an_unreadable_file_is_named(run_dir: Path, name: str, text: str) -> None:
    (run_dir / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        load(run_dir)


def test_a_step_logged_again_after_a_resume_holds_its_later_values(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 20, "reward": 0.5}\n')
    last = load(run_dir).metrics[-1]
    assert (last["step"], last["reward"], last["grad_norm"]) == (20, 0.5, 0.5)


def test_an_evaluation_that_is_still_being_written_is_left_out(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, object]]]
) -> None:
    write_shard(run_dir, make_sampled(20)[:3], kind="eval", step=30, rank=0)
    data = load(run_dir)
    assert data.steps == (0, 10, 20)
    assert data.measured.left_out == (30,)


def test_an_evaluation_may_be_spread_over_ranks(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, object]]]
) -> None:
    rows = make_sampled(20)
    write_shard(run_dir, rows[0::2], kind="eval", step=20, rank=0)
    write_shard(run_dir, rows[1::2], kind="eval", step=20, rank=1)
    data = load(run_dir)
    assert data.steps == (0, 10, 20)
    assert [r.row["sample_idx"] for r in data.last_rollouts] == [0, 1] * 12


def test_only_finite_numbers_reach_a_chart() -> None:
    assert numbers([1, 0.5, float("nan"), float("inf"), None, "1", True]) == [
        1.0,
        0.5,
        None,
        None,
        None,
        None,
        None,
    ]
