"""Dynamic sampling: a group that teaches nothing gives its place in the batch to another prompt's group.

Where all rollouts of a group earned the same, every advantage is zero. While such groups hold places, prompts that
this step has not used are sampled, for a bounded number of rounds, and their groups take the places if they have
signal. What stays without signal after the last round is skipped by the update. Source: DAPO, arXiv 2503.14476,
section 3.2, which samples whole further batches without a bound.

The batch is filled as a whole: any process's group may take any place. So every process can tell from the gathered
rewards alone who holds which place, all of them take the same number of rounds and sample equally many groups in each
(collective calls need that), and a group that another process needs is sent there once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from accelerate.utils import gather_object

from r1rl.rollout.sampling import row_key
from r1rl.train.step_rollouts import Group

# Rewards are float32, and a sum of weighted rewards need not come out equal to the last bit.
_SAME_REWARD = 1e-6


def earned(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted sum of each rollout's rewards, [..., rules] -> [...]; NaN where no rule judged it."""
    total = (rewards * weights).nansum(-1)
    return total.masked_fill(rewards.isnan().all(-1), torch.nan)


def has_signal(rewards: torch.Tensor, weights: torch.Tensor, *, normalize_first: bool = False) -> list[bool]:
    """Whether some rollout of a group gets an advantage: of its judged rollouts, two earned differently.

    Args:
        rewards: [groups, rollouts, rules]; a rollout that is NaN in all rules is left out, as TRL (1.16) leaves it out
            of the group's mean.
        weights: [rules].
        normalize_first: `multi_objective_aggregation` is `normalize_then_sum`, which scales every rule by itself.
    """
    compared = rewards[:, :, weights != 0] if normalize_first else earned(rewards, weights).unsqueeze(-1)
    unknown = compared.isnan()
    highest = compared.masked_fill(unknown, -torch.inf).amax(1)
    lowest = compared.masked_fill(unknown, torch.inf).amin(1)
    return [bool(value) for value in (highest - lowest > _SAME_REWARD).any(-1)]


def fresh_prompts(seed: int, step: int, dataset: Any, used: Collection[str]) -> Iterator[int]:
    """Indices of prompts for the rounds of one step, in an order that only (seed, step) decides.

    Args:
        dataset: rows with a `prompt_id`.
        used: the `prompt_id`s of the step's own batch; they are left out.
    """
    generator = torch.Generator().manual_seed(row_key(seed, "fresh prompts", step))
    for index in torch.randperm(len(dataset), generator=generator).tolist():
        if dataset[index]["prompt_id"] not in used:
            yield index


class Places:
    """Who holds each place of the batch; the same in every process.

    Args:
        rewards: rewards of the first round over all processes, [places, rollouts, rules], one process after another.
        signal: `has_signal` of each of its groups.
        processes: how many processes share the places, evenly.

    Attributes:
        rewards: rewards of the groups that hold the places, [places, rollouts, rules].
        holders: (process, number) of each place's group; a process counts the groups that it sampled in this step.
        open: places whose group has no signal, in order.
    """

    def __init__(self, rewards: torch.Tensor, signal: Sequence[bool], processes: int) -> None:
        self.processes = processes
        self.per_process = len(signal) // processes
        self.rewards = rewards.clone()
        self.holders = [divmod(place, self.per_process) for place in range(len(signal))]
        self.open = [place for place, has in enumerate(signal) if not has]
        self._sampled = self.per_process

    def wanted(self) -> int:
        """Groups that each process samples in the next round: one for each open place, rounded up."""
        return -(-len(self.open) // self.processes)

    def fill(self, rewards: torch.Tensor, signal: Sequence[bool]) -> None:
        """Give open places to the groups of a round that have signal, those in their own process first.

        Args:
            rewards: rewards of the round, [groups, rollouts, rules], one process after another, as many of each.
            signal: `has_signal` of each group.
        """
        each = len(signal) // self.processes
        found = [group for group, has in enumerate(signal) if has]
        for own_only in (True, False):
            for group in list(found):
                process, number = divmod(group, each)
                fitting = (p for p in self.open if not own_only or p // self.per_process == process)
                place = next(fitting, None)
                if place is None:
                    continue
                self.holders[place] = process, self._sampled + number
                self.rewards[place] = rewards[group]
                self.open.remove(place)
                found.remove(group)
        self._sampled += each

    def of(self, process: int) -> range:
        """The places of one process."""
        return range(process * self.per_process, (process + 1) * self.per_process)

    def leaving(self, process: int) -> list[tuple[int, int]]:
        """(place, number) of the groups that one process sampled for a place of another."""
        return [
            (place, number)
            for place, (holder, number) in enumerate(self.holders)
            if holder == process and place // self.per_process != process
        ]

    def kept(self, process: int) -> dict[int, int]:
        """The groups that one process sampled and that hold a place: number -> place."""
        return {number: place for place, (holder, number) in enumerate(self.holders) if holder == process}


@dataclass
class Step:
    """What one training step sampled.

    Args:
        places: which group holds which place of the batch.
        groups: every group that this process sampled, in order.
        signal: `has_signal` of each of these groups.
        rewards: rewards of every group that any process sampled, [groups, rollouts, rules].
        rounds: the number of rounds after the first.
    """

    places: Places
    groups: list[Group]
    signal: list[bool]
    rewards: torch.Tensor
    rounds: int = 0

    def batch(self, process: int) -> list[Group]:
        """The groups that hold this process's places; every process must call it together."""
        leaving = self.places.leaving(process)
        moved: dict[int, Group] = {}
        if any(self.places.leaving(other) for other in range(self.places.processes)):
            moved = dict(gather_object([(place, self.groups[number]) for place, number in leaving]))
        found = []
        for place in self.places.of(process):
            holder, number = self.places.holders[place]
            found.append(self.groups[number] if holder == process else moved[place])
        return found

    def counts(self) -> list[int]:
        """How many groups this process sampled, and how many of them are all right, all wrong, and have signal.

        Right is what the verdicts say, whatever the rewards pay for; a rollout with unusable gold counts as neither.
        """
        right = wrong = 0
        for group in self.groups:
            judged = [verdict.status == "correct" for verdict in group.verdicts if verdict.status != "bad_gold"]
            right += bool(judged) and all(judged)
            wrong += bool(judged) and not any(judged)
        return [len(self.groups), right, wrong, sum(self.signal)]


def sample_step(
    rows: Sequence[dict[str, Any]],
    sample_round: Callable[[Sequence[dict[str, Any]], int], tuple[list[Group], torch.Tensor]],
    signal_of: Callable[[torch.Tensor], list[bool]],
    *,
    dataset: Any,
    seed: int,
    step: int,
    max_resamples: int,
    process: int,
    processes: int,
) -> Step:
    """Sample a batch, and fresh prompts while places lack signal; every process must call it together.

    The rounds end after `max_resamples`, or when the data set has no prompt left that this step has not used.

    Args:
        rows: this process's prompts, as many as every other's.
        sample_round: (rows, number of the round) -> this process's groups and the rewards of all processes' groups,
            [groups, rollouts, rules].
        signal_of: `has_signal` with the recipe's weights.
    """
    groups, rewards = sample_round(rows, 0)
    signal = signal_of(rewards)
    places = Places(rewards, signal, processes)
    done = Step(places, groups, [signal[place] for place in places.of(process)], rewards)
    if not max_resamples or not places.open:
        return done
    used = set(gather_object([row["prompt_id"] for row in rows]))
    fresh = fresh_prompts(seed, step, dataset, used)
    while places.open and done.rounds < max_resamples:
        chosen = list(islice(fresh, places.wanted() * processes))
        each = len(chosen) // processes
        if not each:
            break
        done.rounds += 1
        mine = chosen[process * each : (process + 1) * each]
        groups, rewards = sample_round([dataset[index] for index in mine], done.rounds)
        signal = signal_of(rewards)
        places.fill(rewards, signal)
        done.groups += groups
        done.signal += signal[process * each : (process + 1) * each]
        done.rewards = torch.cat([done.rewards, rewards])
    return done
