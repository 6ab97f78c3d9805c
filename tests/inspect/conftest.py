"""A small run folder whose every figure can be counted by hand, and a larger drawn one to look at."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from r1rl.store.store import write_shard

# A problem's right chain and answer, and two wrong ones.
PROBLEMS: dict[str, dict[str, Any]] = {
    "countdown:2-4-9>22": {
        "numbers": [2, 4, 9],
        "gold": "22",
        "right": ("9 * 2 = 18 , 18 + 4 = 22", 22, "( 9 * 2 ) + 4"),
        "wrong": [
            ("9 - 4 = 5 , 5 + 2 = 7", 7, "( 9 - 4 ) + 2"),
            ("9 + 4 = 13 , 13 + 2 = 15", 15, "( 9 + 4 ) + 2"),
        ],
    },
    "countdown:3-5-7>22": {
        "numbers": [3, 5, 7],
        "gold": "22",
        "right": ("3 * 5 = 15 , 15 + 7 = 22", 22, "( 3 * 5 ) + 7"),
        "wrong": [
            ("7 - 3 = 4 , 4 + 5 = 9", 9, "( 7 - 3 ) + 5"),
            ("3 + 5 = 8 , 8 + 7 = 15", 15, "( 3 + 5 ) + 7"),
        ],
    },
    "countdown:1-6-8>15": {
        "numbers": [1, 6, 8],
        "gold": "15",
        "right": ("1 + 6 = 7 , 7 + 8 = 15", 15, "( 1 + 6 ) + 8"),
        "wrong": [
            ("8 - 6 = 2 , 2 - 1 = 1", 1, "( 8 - 6 ) - 1"),
            ("8 + 6 = 14 , 14 - 1 = 13", 13, "( 8 + 6 ) - 1"),
        ],
    },
    "countdown:2-3-4>14": {
        "numbers": [2, 3, 4],
        "gold": "14",
        "right": ("3 * 4 = 12 , 12 + 2 = 14", 14, "( 3 * 4 ) + 2"),
        "wrong": [
            ("4 - 3 = 1 , 1 + 2 = 3", 3, "( 4 - 3 ) + 2"),
            ("4 + 3 = 7 , 7 + 2 = 9", 9, "( 4 + 3 ) + 2"),
        ],
    },
}

# What two samples of each evaluation's a prompt do: R a right attempt, W a wrong one, in order.
PATHS: dict[int, dict[str, tuple[str, str]]] = {
    0: {
        "countdown:2-4-9>22": ("W", "R"),
        "countdown:3-5-7>22": ("W", "W"),
        "countdown:1-6-8>15": ("W", "WW"),
        "countdown:2-3-4>14": ("R", "WR"),
    },
    10: {
        "countdown:2-4-9>22": ("R", "R"),
        "countdown:3-5-7>22": ("W", "WR"),
        "countdown:1-6-8>15": ("W", "WW"),
        "countdown:2-3-4>14": ("R", "WR"),
    },
    20: {
        "countdown:2-4-9>22": ("WR", "R"),
        "countdown:3-5-7>22": ("WR", "W"),
        "countdown:1-6-8>15": ("WR", "R"),
        "countdown:2-3-4>14": ("R", "WWR"),
    },
}
GREEDY_PATHS: dict[int, tuple[str, str, str, str]] = {
    0: ("R", "W", "W", "W"),
    10: ("R", "W", "WR", "W"),
    20: ("R", "R", "WR", "W"),
}
STEPS = 20
GROUP = 4
GREEDY_RANK = 9
COPIES = 3
"""Each problem is asked under so many names, as there are no intervals over fewer than ten prompts."""


def completion(problem: dict[str, Any], path: str) -> str:
    """A completion in the tiny base's style that makes the attempts of `path`, such as WR."""
    words, answer, misses = [], "", 0
    for i, move in enumerate(path):
        if move == "R":
            chain, value, answer = problem["right"]
        else:
            chain, value, answer = problem["wrong"][misses % 2]
            misses += 1
        words += [", wait ,"] if i else []
        words.append(f"{chain} target {problem['gold']} got {value} {'yes' if move == 'R' else 'no'}")
    return f"<think> {' '.join(words)} </think> <answer> {answer} </answer>"


def rollout(prompt_id: str, problem: dict[str, Any], path: str, **changes: Any) -> dict[str, Any]:
    """A row of the store; `changes` replace its columns."""
    text = completion(problem, path)
    right = path.endswith("R")
    row: dict[str, Any] = {
        "run": "toy",
        "policy_step": 0,
        "prompt_id": prompt_id,
        "group_id": prompt_id,
        "sample_idx": 0,
        "task": "countdown",
        "template": "none",
        "prompt": f"Use {', '.join(map(str, problem['numbers']))} to make {problem['gold']}.",
        "prefill": "",
        "completion": text,
        "token_ids": None,
        "logprobs": None,
        "n_tokens": len(text.split()),
        "finish_reason": "eos",
        "gold": problem["gold"],
        "meta": json.dumps({"numbers": problem["numbers"]}),
        "verdict": "correct" if right else "wrong",
        "verdict_reason": "" if right else "not the target",
        "reward": float(right),
        "reward_accuracy": float(right),
        "advantage": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "cap": 160,
        "wall_time": 1000.0,
    }
    return {**row, **changes}


def sampled_rows(step: int) -> list[dict[str, Any]]:
    """The sampled held-out rollouts of an evaluation."""
    return [
        rollout(f"{name}#{copy}", PROBLEMS[name], path, sample_idx=i, policy_step=step)
        for copy in range(COPIES)
        for name, paths in PATHS[step].items()
        for i, path in enumerate(paths)
    ]


def greedy_rows(step: int) -> list[dict[str, Any]]:
    """The greedy held-out rollouts of an evaluation."""
    return [
        rollout(f"{name}#{copy}", problem, path, temperature=0.0, policy_step=step)
        for copy in range(COPIES)
        for (name, problem), path in zip(PROBLEMS.items(), GREEDY_PATHS[step], strict=True)
    ]


def write_run(folder: Path, *, steps: int = STEPS, evaluations: bool = True) -> Path:
    """A run folder; the training reward of step k is k / 20 exactly."""
    folder.mkdir(parents=True)
    recipe = "model_name_or_path: r1rl/tiny\nseed: 3\ntask: countdown\nhub_token: hf_hidden\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps({"versions": {"r1rl": "0.1.0", "torch": "2.13.0"}}))
    prompt_id, problem = next(iter(PROBLEMS.items()))
    for step in range(steps):
        rows = [
            rollout(prompt_id, problem, "W", sample_idx=i, policy_step=step, reward=step / 20, advantage=0.0)
            | {"wall_time": 1000.0 + step}
            for i in range(GROUP)
        ]
        rows[0] |= {"verdict": "bad_gold", "reward": None, "reward_accuracy": None}
        write_shard(folder, rows, kind="train", step=step, rank=0)
    metrics = [
        {
            "step": step + 1, "reward": step / 20, "rewards/accuracy/mean": step / 20,
            "rewards/format/mean": 1.0, "entropy": 1.0 - step / 40,
            "completions/mean_length": 30.0 + step, "completions/clipped_ratio": 0.0,
            "grad_norm": 0.5, "learning_rate": 1e-4, "aha/marker_strict_rate": 0.25, "aha/retry_after_miss": 0.3,
            "aha/wrong_to_right": 0.1, "frac_reward_zero_std": 0.5, "step_time": 1.5,
        }
        for step in range(steps)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    events = [
        {"time": 1.0, "step": 0, "event": "start"},
        {"time": 2.0, "step": 8, "event": "length_cap", "cap": 160},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in events))
    (folder / "result.json").write_text(json.dumps({"wall_seconds": 61.5, "steps": steps}))
    if evaluations:
        for step in PATHS:
            # A shard each, so that a test can replace or delete one.
            write_shard(folder, sampled_rows(step), kind="eval", step=step, rank=0)
            write_shard(folder, greedy_rows(step), kind="eval", step=step, rank=GREEDY_RANK)
    return folder


HOSTILE = {
    "script": "<script>document.title='OWNED'</script>",
    "closing tag": "</think></pre></article></script><img src=x onerror=\"document.title='OWNED'\">",
    "attribute": "\" onmouseover=\"document.title='OWNED'\" x='",
    "template": "{{ 7 * 7 }}{% raw %}",
    "bidi override": "before\u202eafter",
    "null byte": "before\x00after",
    "escape sequence": "\x1b[31mred\x1b]0;OWNED\x07",
    "rich markup": "[bold red]loud[/] [link=file:///etc/passwd]here[/link] [/nothing]",
    "line separator": "before\u2028after",
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The counted run."""
    return write_run(tmp_path / "toy")


@pytest.fixture
def hostile_run(tmp_path: Path) -> Path:
    """The counted run with every hostile text in the completions, prompts and reasons of its evaluations."""
    folder = write_run(tmp_path / "hostile")
    texts = list(HOSTILE.values())
    for step in PATHS:
        rows = sampled_rows(step)
        for i, row in enumerate(rows):
            text = " ".join(texts[i % len(texts) :] + texts[: i % len(texts)])
            row |= {
                "completion": row["completion"].replace("</think>", f"{text} </think>", 1) + text,
                "prompt": row["prompt"] + text,
                "verdict_reason": text,
            }
        write_shard(folder, rows, kind="eval", step=step, rank=0)
    with (folder / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"time": 3.0, "step": 9, "event": texts[0], "detail": texts[1]}) + "\n")
    return folder


@pytest.fixture
def drawn_run(tmp_path: Path) -> Path:
    """A larger run of drawn rollouts, retrying more and more."""
    return write_drawn_run(tmp_path / "drawn")


def write_drawn_run(folder: Path, prompts: int = 40, last: int = 100) -> Path:
    """A run of `last` steps over `prompts` problems whose paths are drawn, seeded."""
    write_run(folder, steps=2, evaluations=False)
    generator = random.Random(0)
    problems = {}
    for i in range(prompts):
        name, problem = list(PROBLEMS.items())[i % len(PROBLEMS)]
        problems[f"{name}#{i}"] = problem
    for step in range(0, last + 1, last // 5):
        progress = step / last
        odds = (0.2 + 0.3 * progress, 0.2 + 0.6 * progress)
        sampled, greedy = [], []
        for name, problem in problems.items():
            sampled += [rollout(name, problem, _draw_path(generator, *odds), sample_idx=i) for i in range(2)]
            greedy.append(rollout(name, problem, _draw_path(generator, *odds), temperature=0.0))
        write_shard(folder, [*sampled, *greedy], kind="eval", step=step, rank=0)
    lines = []
    for step in range(1, last + 1):
        progress, noise = step / last, generator.gauss(0, 0.04)
        lines.append(
            {
                "step": step, "reward": 0.3 + 0.5 * progress + noise,
                "rewards/accuracy/mean": 0.2 + 0.5 * progress + noise, "rewards/format/mean": min(1.0, 0.8 + progress),
                "completions/mean_length": 40 + 30 * progress + 50 * noise, "completions/clipped_ratio": abs(noise),
                "entropy": 1.2 - 0.8 * progress + noise, "grad_norm": 0.4 + noise,
                "learning_rate": 1e-4 * min(1.0, step / 10), "aha/marker_strict_rate": 0.2 + 0.4 * progress + noise,
                "aha/retry_after_miss": 0.2 + 0.5 * progress + noise,
                "aha/wrong_to_right": 0.1 + 0.2 * progress + noise,
                "frac_reward_zero_std": 0.3 + noise, "step_time": 1.5 + noise,
            }
        )  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _draw_path(generator: random.Random, hit: float, retry: float) -> str:
    path = ""
    while True:
        path += "R" if generator.random() < hit else "W"
        if path.endswith("R") or generator.random() > retry or len(path) > 4:
            return path


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """`write_run`."""
    return write_run


@pytest.fixture
def make_rollout() -> Callable[..., dict[str, Any]]:
    """`rollout` on the first problem: make_rollout("WR", verdict=…)."""
    name, problem = next(iter(PROBLEMS.items()))
    return lambda path, **changes: rollout(name, problem, path, **changes)


@pytest.fixture
def make_sampled() -> Callable[[int], list[dict[str, Any]]]:
    """`sampled_rows`."""
    return sampled_rows


@pytest.fixture
def hostile_texts() -> dict[str, str]:
    """What a completion may hold at worst."""
    return HOSTILE
