"""Dynamic sampling in real processes: one and two of them, and what a Ctrl-C leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import TINY, folder_of, metric_lines

from r1rl.store import store

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.processes
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
GROUPS, SIZE = 4, 3


def train(small_run, name, *words):
    done = subprocess.run(
        [
            sys.executable, "-m", "r1rl.cli", "train", str(TINY), *small_run, "--name", name,
            "--dynamic_sampling", "true", "--num_generations", str(SIZE), "--max_completion_length", "32",
            "--reward_funcs", "accuracy", "--reward_weights", "1.0",  # most groups of a small base are all wrong
            *words,
        ],
        capture_output=True, text=True, timeout=900, env=ENVIRONMENT, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder_of(small_run, name)


def groups_of(folder, step):
    """(rank, its groups in the order in which they were sampled)."""
    found = {}
    for row in store.read(folder, kind="train", steps=[step]).to_pylist():
        found.setdefault(row["rank"], {}).setdefault(row["group_id"], []).append(row)
    return {rank: list(groups.values()) for rank, groups in found.items()}


def lacks_signal(group):
    return len({row["reward"] for row in group}) == 1


@pytest.mark.long
def test_one_process_and_two(small_run):
    one, two = train(small_run, "one"), train(small_run, "two", "--launcher", "cpu_ddp2")
    first, second = metric_lines(one), metric_lines(two)
    assert [set(line) for line in first] == [set(line) for line in second]
    assert len(second) == 3
    for folder, lines in ((one, first), (two, second)):
        for step, line in enumerate(lines):
            groups = [group for part in groups_of(folder, step).values() for group in part]
            kept = [group for group in groups if group[0]["kept"]]
            assert len(kept) == GROUPS
            assert all(group[0]["kept"] or lacks_signal(group) or len(groups) > 2 * GROUPS for group in groups)
            assert sum(not lacks_signal(group) for group in kept) == min(
                GROUPS, sum(not lacks_signal(group) for group in groups)
            )
            assert line["groups/sampled"] == len(groups)
            assert line["dynamic/discarded"] == len(groups) - GROUPS
            keys = {(r["kind"], r["step"], r["rank"], r["group_id"], r["sample_idx"]) for g in groups for r in g}
            assert len(keys) == len(groups) * SIZE
            assert len({group[0]["prompt_id"] for group in groups}) == len(groups)
            # A group that was sent to another process is stored where it was sampled, with what it was trained on.
            for group in kept:
                assert sum(row["advantage"] for row in group) == pytest.approx(0, abs=1e-5)
                assert lacks_signal(group) == all(row["advantage"] == 0 for row in group)
    # Before the first update both have the same policy: the first round is the same, the second one begins the same.
    alone, shared = groups_of(one, 0)[0], groups_of(two, 0)
    half = GROUPS // 2
    assert shown(alone[:GROUPS]) == shown(shared[0][:half] + shared[1][:half])
    missing = sum(lacks_signal(group) for group in alone[:GROUPS])
    assert missing, "or this test shows nothing"
    each = -(-missing // 2)
    again = shared[0][half : half + each] + shared[1][half : half + each]
    assert shown(alone[GROUPS : GROUPS + missing]) == shown(again[:missing])
    # A group that changes process leaves the batch of the sender without one of its own places.
    for step in range(3):
        held = {rank: sum(group[0]["kept"] for group in part) for rank, part in groups_of(two, step).items()}
        assert sum(held.values()) == GROUPS


def shown(groups):
    return [[(row["prompt_id"], row["token_ids"]) for row in group] for group in groups]
