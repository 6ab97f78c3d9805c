"""Dynamic sampling: which groups have signal, who holds which place, and what a training run makes of it."""

import math
import threading
from statistics import mean, stdev

import pytest
import torch
from tiny_training import build, metric_lines, run

from r1rl.rollout.sampling import row_key
from r1rl.store import store
from r1rl.train import dynamic_sampling
from r1rl.train.dynamic_sampling import Places, fresh_prompts, has_signal, sample_step
from r1rl.train.step_rollouts import Group
from r1rl.verify import Verdict

NAN = math.nan


@pytest.mark.parametrize(
    ("rollouts", "weights", "normalize_first", "expected"),
    [
        pytest.param([[1, 1], [0, 1]], [1, 0.1], False, True, id="one right, one wrong"),
        pytest.param([[1, 1], [1, 1]], [1, 0.1], False, False, id="all earn the same"),
        pytest.param([[1, 0.2]] * 3, [1, 0.2], False, False, id="equal, though no sum of floats is exact"),
        pytest.param([[1, 0], [1, 1]], [1, 0], False, False, id="they differ in a rule of weight 0"),
        pytest.param([[1, 0], [0, 1]], [1, 1], False, False, id="two rules cancel out"),
        pytest.param([[1, 0], [0, 1]], [1, 1], True, True, id="but not when each rule is scaled by itself"),
        pytest.param([[1, 0], [1, 1]], [1, 0], True, False, id="weight 0 there as well"),
        pytest.param([[NAN, NAN], [1, 1], [1, 1]], [1, 1], False, False, id="the one that is not judged is left out"),
        pytest.param([[NAN, NAN], [1, 1], [0, 1]], [1, 1], False, True, id="and the others decide"),
        pytest.param([[NAN, NAN], [1, 1]], [1, 1], False, False, id="one judged rollout has nothing to compare"),
        pytest.param([[NAN, NAN]] * 2, [1, 1], False, False, id="nothing judged"),
        pytest.param([[NAN, NAN]] * 2, [1, 1], True, False, id="nothing judged, rules by themselves"),
        pytest.param([[NAN, 0], [NAN, 1]], [1, 1], False, True, id="one rule does not judge, the other tells apart"),
    ],
)
def test_signal(rollouts, weights, normalize_first, expected):
    rewards = torch.tensor([rollouts], dtype=torch.float32)
    assert has_signal(rewards, torch.tensor(weights).float(), normalize_first=normalize_first) == [expected]


class Dataset(list):
    """Rows as a data set has them."""


def dataset(count):
    return Dataset({"prompt_id": f"p{i}"} for i in range(count))


def test_fresh_prompts_follow_from_seed_and_step_alone():
    rows = dataset(50)
    order = list(fresh_prompts(0, 3, rows, {"p7", "p8"}))
    assert order == list(fresh_prompts(0, 3, rows, {"p7", "p8"}))
    assert sorted(order) == [i for i in range(50) if i not in (7, 8)], "each once, none of the step's own"
    assert order != list(fresh_prompts(0, 4, rows, {"p7", "p8"}))
    assert order != list(fresh_prompts(1, 3, rows, {"p7", "p8"}))
    # What else is left out does not change the order of the rest.
    assert [i for i in fresh_prompts(0, 3, rows, set()) if i not in (7, 8)] == order


def test_a_group_goes_to_a_place_of_its_own_process_first():
    rewards = torch.arange(6.0).view(6, 1, 1)
    places = Places(rewards, [True, False, False, True, True, False], processes=2)
    assert places.open == [1, 2, 5]
    assert places.wanted() == 2
    places.fill(torch.tensor([10.0, 11.0, 12.0, 13.0]).view(4, 1, 1), [False, False, True, True])
    # Process 1 sampled both groups with signal: one stays at home, the other is sent to process 0.
    assert places.holders == [(0, 0), (1, 4), (0, 2), (1, 0), (1, 1), (1, 3)]
    assert places.rewards.flatten().tolist() == [0, 13, 2, 3, 4, 12]
    assert places.open == [2]
    assert places.leaving(0) == []
    assert places.leaving(1) == [(1, 4)]
    assert places.kept(0) == {0: 0, 2: 2}
    assert places.kept(1) == {0: 3, 1: 4, 3: 5, 4: 1}
    places.fill(torch.tensor([20.0, 21.0]).view(2, 1, 1), [True, True])
    assert places.holders[2] == (0, 5), "a process's groups are counted over all rounds"
    assert places.open == [], "and the second one is surplus"


class World:
    """Processes as threads: `gather` waits for all, like a collective, and fails if one process does not come."""

    def __init__(self, processes):
        self.processes = processes
        self.barrier = threading.Barrier(processes)
        self.box = [None] * processes
        self.local = threading.local()

    def gather(self, values):
        self.box[self.local.process] = list(values)
        self.barrier.wait(timeout=20)
        together = [value for part in self.box for value in part]
        self.barrier.wait(timeout=20)
        return together

    def run(self, function):
        found, errors = [None] * self.processes, []

        def work(process):
            self.local.process = process
            try:
                found[process] = function(process)
            except BaseException as error:
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=work, args=(process,)) for process in range(self.processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return found


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("size", [8, 13, 40], ids=["no other prompts", "few other prompts", "many other prompts"])
def test_every_process_agrees_on_the_batch(monkeypatch, processes, share, size):
    """A step of 8 prompts; a prompt has signal or not, by its number."""
    rows, rounds = dataset(size), 3
    world = World(processes)
    monkeypatch.setattr(dynamic_sampling, "gather_object", world.gather)
    good = {f"p{i}" for i in range(size) if (i * 37 % 100) / 100 < share}
    sampled = []

    def sample_round(mine, number):
        groups = [
            Group(row, [], [], [], [], torch.tensor([[1.0], [float(row["prompt_id"] not in good)]])) for row in mine
        ]
        everyone = world.gather([(row["prompt_id"], number) for row in mine])
        if world.local.process == 0:
            sampled.append([prompt_id for prompt_id, _ in everyone])
            assert {n for _, n in everyone} == {number}, "all are in the same round"
        return groups, torch.tensor([[[1.0], [float(p not in good)]] for p, _ in everyone])

    def process(number):
        each = 8 // processes
        step = sample_step(
            rows[number * each : (number + 1) * each],
            sample_round,
            lambda rewards: has_signal(rewards, torch.ones(1)),
            dataset=rows,
            seed=0,
            step=5,
            max_resamples=rounds,
            process=number,
            processes=processes,
        )
        return step, [group.row["prompt_id"] for group in step.batch(number)]

    found = world.run(process)
    steps = [step for step, _ in found]
    assert len({(tuple(s.places.holders), tuple(s.places.open), s.rounds, len(s.rewards)) for s in steps}) == 1
    everything = [prompt_id for part in sampled for prompt_id in part]
    assert len(everything) == len(set(everything)), "no prompt twice in a step"
    assert everything[:8] == [f"p{i}" for i in range(8)]
    assert sum(len(step.groups) for step in steps) == len(everything) == len(steps[0].rewards)
    batch = [prompt_id for _, part in found for prompt_id in part]
    assert len(batch) == 8
    assert len(set(batch)) == 8
    with_signal = sum(prompt_id in good for prompt_id in everything)
    assert sum(prompt_id in good for prompt_id in batch) == min(8, with_signal), "no group with signal is wasted"
    # A group with signal never leaves, and one without leaves for one with.
    for place, (before, now) in enumerate(zip(everything, batch, strict=False)):
        assert now == before or (before not in good and now in good), place
    for place, prompt_id in enumerate(batch):
        assert steps[0].places.rewards[place, 1].item() == float(prompt_id not in good)
    assert steps[0].rounds == len(sampled) - 1 <= rounds
    if len(steps[0].places.open) and steps[0].rounds < rounds:
        assert size - len(everything) < processes, "stops early for want of prompts only"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["correct", "correct"], [1, 1, 0]),
        (["wrong", "timeout"], [1, 0, 1]),
        (["correct", "unparseable"], [1, 0, 0]),
        (["bad_gold", "correct"], [1, 1, 0]),
        (["bad_gold", "bad_gold"], [1, 0, 0]),
    ],
)
def test_groups_all_right_and_all_wrong(statuses, expected):
    verdicts = [Verdict(status, None, "") for status in statuses]
    group = Group({}, [], [], [], verdicts, torch.zeros(2, 1))
    places = Places(torch.zeros(1, 2, 1), [False], 1)
    assert dynamic_sampling.Step(places, [group], [False], group.rewards[None]).counts() == [*expected, 0]


ON = ("--dynamic_sampling", "true", "--num_generations", "3", "--max_completion_length", "32")


def groups_of(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row["group_id"], []).append(row)
    return list(groups.values())


def lacks_signal(group):
    return len({row["reward"] for row in group}) == 1


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_training_run_replaces_groups_and_stores_what_it_threw_away(small_run, scale):
    folder = run(small_run, *ON, "--scale_rewards", scale)
    lines = metric_lines(folder)
    for step, line in enumerate(lines):
        rows = store.read(folder.path, kind="train", steps=[step]).to_pylist()
        keys = {(row["kind"], row["step"], row["rank"], row["group_id"], row["sample_idx"]) for row in rows}
        assert len(keys) == len(rows)
        groups = groups_of(rows)
        kept = [group for group in groups if group[0]["kept"]]
        assert len(kept) == 4
        assert all(len({row["kept"] for row in group}) == 1 and len(group) == 3 for group in groups), "whole groups"
        thrown = [group for group in groups if not group[0]["kept"]]
        assert all(lacks_signal(group) for group in thrown)
        assert all(row["advantage"] is None for group in thrown for row in group)
        assert all(group[0]["kept"] for group in groups if not lacks_signal(group))
        assert len({group[0]["prompt_id"] for group in groups}) == len(groups), "every group has a prompt of its own"
        # TRL's advantages, of the groups that hold a place.
        everyone = [row["reward"] for group in kept for row in group]
        for group in kept:
            earned = [row["reward"] for row in group]
            divisor = {"group": stdev(earned) + 1e-4, "batch": stdev(everyone) + 1e-4, "none": 1}[scale]
            for row in group:
                assert row["advantage"] == pytest.approx((row["reward"] - mean(earned)) / divisor, abs=1e-5)
            if lacks_signal(group):
                assert [row["advantage"] for row in group] == [0.0] * 3
        # Every figure counts what was thrown away.
        assert line["groups/sampled"] == len(groups)
        assert line["groups/with_signal"] == sum(not lacks_signal(group) for group in groups)
        assert line["groups/all_wrong"] == sum(all(row["verdict"] != "correct" for row in g) for g in groups)
        assert line["groups/all_right"] == sum(all(row["verdict"] == "correct" for row in g) for g in groups)
        assert line["dynamic/discarded"] == len(thrown)
        assert line["reward"] == pytest.approx(mean(row["reward"] for row in rows), abs=1e-6)
        assert line["reward_std"] == pytest.approx(stdev(row["reward"] for row in rows), abs=1e-6)
        assert line["rewards/format/mean"] == pytest.approx(mean(row["reward_format"] for row in rows), abs=1e-6)
        assert line["task_accuracy"] == pytest.approx(mean(row["verdict"] == "correct" for row in rows))
        assert line["completions/mean_length"] == pytest.approx(mean(row["n_tokens"] for row in rows), rel=1e-5)
        assert line["completions/max_length"] == max(row["n_tokens"] for row in rows)
        assert line["completions/clipped_ratio"] == pytest.approx(
            mean(row["finish_reason"] == "length" for row in rows)
        )
        assert line["frac_reward_zero_std"] == pytest.approx(mean(lacks_signal(group) for group in kept)) or (
            scale == "batch"
        )
    assert sum(line["dynamic/discarded"] for line in lines) > 0, "there was something to replace"
    assert all(1 <= line["dynamic/rounds"] <= 3 for line in lines if line["dynamic/discarded"])


def test_rounds_are_bounded_and_a_hopeless_step_keeps_its_own_groups(small_run):
    # Two tokens are never an answer, so nothing ever has signal.
    folder = run(small_run, *ON, "--max_completion_length", "2", "--max_resamples", "2", "--max_steps", "1")
    (line,) = metric_lines(folder)
    assert (line["dynamic/rounds"], line["dynamic/discarded"], line["groups/with_signal"]) == (2, 8, 0)
    groups = groups_of(store.read(folder.path, kind="train").to_pylist())
    assert [group[0]["kept"] for group in groups] == [True] * 4 + [False] * 8
    assert all(row["advantage"] == 0 for group in groups[:4] for row in group)


def test_without_dynamic_sampling_groups_are_counted_and_none_can_be_thrown_away(small_run):
    folder = run(small_run, "--num_generations", "3", "--max_steps", "1")
    (line,) = metric_lines(folder)
    rows = store.read(folder.path, kind="train").to_pylist()
    assert line["groups/sampled"] == 4
    assert line["groups/with_signal"] == sum(not lacks_signal(group) for group in groups_of(rows))
    assert {"groups/all_right", "groups/all_wrong", "grading/seconds", "grading/waited_seconds"} <= set(line)
    assert not {"dynamic/rounds", "dynamic/discarded"} & set(line)
    assert {row["kept"] for row in rows} == {None}


def test_what_is_trained_on_is_what_is_marked_as_kept(small_run):
    """Also that a rollout of a further round depends on (seed, step, round, index) alone."""
    trainer = build(small_run, *ON, "--max_completion_length", "24")
    trainer.model.train()
    inputs = [dict(trainer.train_dataset[i // 3]) for i in range(12)]
    output = trainer._generate_and_score_completions(inputs)
    rows = store.read(trainer.folder.path, kind="train").to_pylist()
    groups = groups_of(rows)
    assert len(groups) > 4
    lengths = output["completion_mask"].sum(1).tolist()
    trained = [ids[:n] for ids, n in zip(output["completion_ids"].tolist(), lengths, strict=True)]
    advantages = output["advantages"].tolist()
    kept = {tuple(row["token_ids"]): row["advantage"] for row in rows if row["kept"]}
    assert {tuple(ids) for ids in trained} == set(kept)
    assert {tuple(ids): a for ids, a in zip(trained, advantages, strict=True)} == kept
    assert output["num_items_in_batch"] == sum(lengths)
    assert [ids[:n] for ids, n in zip(trained, lengths, strict=True)] == [
        completion.token_ids for completion in trainer.rollouts.completions
    ]
    again = [row for row in rows if row["group_id"] == groups[4][0]["group_id"]]
    prompt = trainer.processing_class(again[0]["prompt"])["input_ids"]
    keys = [row_key(trainer.args.seed, "resample", 0, 1, i) for i in range(3)]
    alone = trainer.sample([prompt] * 3, keys, trainer.sampling())
    assert [completion.token_ids for completion in alone] == [row["token_ids"] for row in again]


def test_columns_that_a_reward_logs_stay_with_their_rollouts(small_run):
    trainer = build(small_run, *ON)
    trainer.model.train()

    def told(completions, log_extra, log_metric, **columns):
        log_extra("text", list(completions))
        log_metric("told", 1.0)
        return [0.0] * len(completions)

    trainer.reward_funcs[1] = told
    trainer._generate_and_score_completions([dict(trainer.train_dataset[i // 3]) for i in range(12)])
    assert list(trainer._logs["extra"]["text"]) == list(trainer._logs["completion"])
    assert len(trainer._logs["prompt"]) == len(trainer._logs["advantages"]) == 12
    assert trainer.step_metrics["told"] == [1.0]


def test_equal_rewards_give_no_advantage_at_all(small_run):
    """Upstream's is the rounding error of a mean, divided by 1e-4: such rows would not be skipped."""
    trainer = build(small_run, "--num_generations", "12")
    trainer.model.train()
    trainer.reward_funcs[:] = [lambda completions, **columns: [1.0] * len(completions)] * 2
    trainer.reward_weights = torch.tensor([1.0, 0.2])
    rewards = torch.full((12,), 1.2)
    assert ((rewards - rewards.nanmean()) != 0).all(), "or this test shows nothing"
    output = trainer._generate_and_score_completions([dict(trainer.train_dataset[0]) for _ in range(12)])
    assert output["advantages"].tolist() == [0.0] * 12


def test_a_resumed_run_is_the_uninterrupted_one(small_run, tmp_path):
    whole = run(small_run, *ON, "--max_steps", "4")
    again = [str(tmp_path / "again") if word == str(tmp_path / "runs") else word for word in small_run]
    again += [*ON, "--save_steps", "2"]
    run(again, "--max_steps", "2")
    resumed = run(again, "--max_steps", "4", "--resume")
    final = [(folder.checkpoints / "final" / "model.safetensors").read_bytes() for folder in (whole, resumed)]
    assert final[0] == final[1]
    columns = ["step", "group_id", "sample_idx", "prompt_id", "token_ids", "advantage", "kept"]
    first, second = (store.read(folder.path, kind="train", columns=columns).to_pylist() for folder in (whole, resumed))
    assert first == second
    assert any(row["kept"] is False and row["step"] >= 2 for row in first), "or this test shows nothing"
