"""Runs that the reader opens: drawn ones with every column filled in, and one that means harm."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_texts import corpus
from starlette.testclient import TestClient

from r1rl.inspect.reader.app import application
from r1rl.inspect.reader.state import State
from r1rl.store.store import write_shard

ADDRESS = "http://127.0.0.1"


# Fixtures of a session cannot use those of a test, and conftest.py is imported by its path.
def _conftest(request: pytest.FixtureRequest) -> Any:
    """The functions that make the runs of tests/inspect."""
    return next(
        plugin
        for plugin in request.config.pluginmanager.get_plugins()
        if getattr(plugin, "__file__", "") and str(plugin.__file__).endswith("tests/inspect/conftest.py")
    )


def train_rows(made: Any, step: int, rank: int, seed: int) -> list[dict[str, Any]]:
    """Two groups of four training rollouts, rewards, reasons and lengths drawn."""
    generator = random.Random(f"{step} {rank} {seed}")
    rows = []
    for group in range(2):
        name, problem = generator.choice(list(made.PROBLEMS.items()))
        for sample in range(4):
            path = "".join(generator.choice("RWW") for _ in range(generator.randint(1, 4)))
            row = made.rollout(name, problem, path, sample_idx=sample, policy_step=step, advantage=0.5)
            row |= {
                "group_id": f"train-{step}-{rank}-{group}",
                "finish_reason": generator.choice(["eos", "stop", "length"]),
                "reward": generator.choice([0.0, 0.1, 1.0, 1.1]),
                "reward_format": 1.0,
                "n_tokens": generator.randint(5, 160),
            }
            if generator.random() < 0.3:  # a check that is not true
                row["completion"] = row["completion"].replace(" no", " yes", 1)
            if generator.random() < 0.3:  # an answer out of nowhere
                guess = " * ".join(map(str, problem["numbers"]))
                row["completion"] = f"{row['completion'].partition('<answer>')[0]}<answer> {guess} </answer>"
            if generator.random() < 0.2:
                row |= {"verdict": "unparseable", "verdict_reason": generator.choice(["no <answer>", "empty"])}
            rows.append(row)
    return rows


@pytest.fixture(scope="session")
def wide_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn run, two ranks of training steps, sampled and greedy evaluations."""
    made = _conftest(request)
    folder: Path = made.write_drawn_run(tmp_path_factory.mktemp("wide") / "wide", prompts=12, last=20)
    for step in range(6):
        for rank in range(2):
            write_shard(folder, train_rows(made, step, rank, 0), kind="train", step=step, rank=rank)
    return folder


@pytest.fixture(scope="session")
def state(wide_run: Path) -> Iterator[State]:
    """The reader's state of that run."""
    found = State([wide_run])
    found.refresh()
    yield found
    found.index.close()


@pytest.fixture(scope="session")
def client(state: State) -> TestClient:
    """Asks the reader of that run; without its lifespan, so nothing follows the folder."""
    return TestClient(application(state, follow=False), base_url=ADDRESS)


@pytest.fixture(scope="session")
def harm(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A run of more than a hundred prompts, each text of which is another attack."""
    made = _conftest(request)
    folder: Path = made.write_run(tmp_path_factory.mktemp("harm") / "harm", evaluations=False)
    name, problem = next(iter(made.PROBLEMS.items()))
    texts = corpus()
    for step in (0, 10, 20):
        rows = []
        for i, text in enumerate(texts):
            row = made.rollout(f"{name}#{i}{text}", problem, ("W", "WR", "RW")[(i + step) % 3], policy_step=step)
            row |= {
                "completion": text + row["completion"].replace("</think>", f"{text} wait, {text}</think>", 1) + text,
                "prompt": row["prompt"] + text, "prefill": text, "verdict_reason": text, "gold": problem["gold"],
                "group_id": text, "template": text,
            }  # fmt: skip
            rows.append(row)
        rows[0]["completion"] += "x" * 1_000_000 + texts[0]
        write_shard(folder, rows, kind="eval", step=step, rank=0)
    with (folder / "events.jsonl").open("a") as stream:
        stream.writelines(
            json.dumps({"time": 3.0, "step": 9 + i, "event": text, "detail": text}) + "\n"
            for i, text in enumerate(texts[:20])
        )
    (folder / "recipe.yaml").write_text(
        json.dumps({"model_name_or_path": texts[0], "reward_funcs": texts[:3], "seed": 1, "task": texts[1]})
    )
    return folder
