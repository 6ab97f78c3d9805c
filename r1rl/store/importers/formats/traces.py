"""Traces of verifiers since 0.3, which are prime-rl's too: `traces.jsonl`, an episode a line, one trace an agent.

Read in verifiers 0.4.0 (`Episode.to_record`) and prime-rl at commit 559b4477 (`FileMonitor.log_episodes`), which writes
RUN/rollouts/step_1/{train,eval}/{all,effective}/traces.jsonl. Its step is the batch that is being collected, from 1, so
one more than the updates made before. A trace is a graph of messages; its last branch is read, and what the model wrote
in it. In prime-rl 0.7 and 0.8 a line is one trace (`Rollout.to_record`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from r1rl.store.importers.formats.base import FINISHED, Format, Record, Seen, step_of_name

_CUT: Final = {"max_turns", "max_input_tokens", "max_output_tokens", "max_total_tokens"}  # in `Trace.is_truncated`


def _fits(file: Path, record: Record) -> bool:
    return record.keys() >= {"traces", "task"} or record.keys() >= {"nodes", "task", "rewards"}


def _rollouts(record: Record, file: Path, seen: Seen) -> Iterable[Record]:
    episode = record if "traces" in record else {}
    traces = record.get("traces") if episode else [record]
    found = [trace for trace in traces if isinstance(trace, dict)] if isinstance(traces, list) else []
    shared = _shared(episode, record, file)
    if not found:
        seen["empty"] += 1
    return [shared | _rollout(trace, episode) for trace in found]


def _shared(episode: Record, record: Record, file: Path) -> Record:
    """What an episode's rollouts have in common: when they were sampled, and their group; until 0.8 on the trace."""
    work = _of(_of(episode, "run"), "work")
    kind, step = work.get("type") or record.get("kind"), None
    if file.parent.name in ("all", "effective"):
        kind = kind or file.parent.parent.name
        step = step_of_name(file.parent.parent.parent.name)
    row: Record = {
        "kind": kind if kind in ("train", "eval") else None,
        "step": (work.get("step") or record.get("eval_step")) if step is None else step,
        "policy_step": _of(work, "policy").get("start", record.get("policy_version")),
        "group": _of(episode, "group").get("id", record.get("group_id")),
        "task": _of(episode, "env").get("name") or _of(episode, "env").get("id") or record.get("env_name"),
    }
    return {name: value for name, value in row.items() if value is not None}


def _rollout(trace: Record, episode: Record) -> Record:
    nodes = _branch(trace.get("nodes"))
    calls = [call for call in _list(trace.get("calls")) if isinstance(call, dict)]
    first = next((i for i, node in enumerate(nodes) if node.get("sampled")), len(nodes))
    data = _of(_of(trace, "task"), "data") or _of(_of(episode, "task"), "data")
    asked = [_of(node, "message") for node in nodes[:first]]
    last = calls[-1] if calls else {}
    sampling, rewards = _of(last, "sampling"), _of(trace, "rewards")
    cut = trace.get("stop_condition") in _CUT or last.get("finish_reason") == "length"
    row: Record = {
        **{name: value for name, value in _of(trace, "metrics").items() if not name.startswith("num_")},
        **{name: _of(rewards, name).get("score") for name in rewards},
        "prompt": asked or data.get("prompt") or "",
        "completion": [_of(node, "message") for node in nodes[first:]] or None,
        "gold": data.get("answer"),
        "meta": data.get("info"),
        "reward": _reward(rewards),
        "n_tokens": _tokens(calls),
        "finish_reason": "length" if cut else FINISHED.get(str(last.get("finish_reason"))),
        "temperature": sampling.get("temperature"),
        "top_p": sampling.get("top_p"),
        "cap": sampling.get("max_tokens"),
    }
    sampled = [node for node in nodes if node.get("sampled")]
    return row | (_sampled(sampled[0]) if len(sampled) == 1 else {})


def _branch(nodes: Any) -> list[Record]:
    """The path from a root to the last message; a link that leads forward or nowhere ends it."""
    found, at = [], len(_list(nodes)) - 1
    while at >= 0 and isinstance(nodes[at], dict):
        found.append(nodes[at])
        parent = nodes[at].get("parent")
        at = parent if isinstance(parent, int) and parent < at else -1
    return found[::-1]


def _sampled(node: Record) -> Record:
    """The tokens of the only turn, their log-probabilities, and the advantage where all have the same."""
    ids, mask, logprobs = (_list(node.get(name)) for name in ("token_ids", "mask", "logprobs"))
    own = [token for token, is_own in zip(ids, mask, strict=False) if is_own]
    row: Record = {}
    if own:
        row |= {"token_ids": own, "n_tokens": len(own)}
        if len(logprobs) == len(own):
            row["logprobs"] = logprobs
    advantages = {value for value in _list(node.get("advantages")) if isinstance(value, int | float)}
    return row | ({"advantage": advantages.pop()} if len(advantages) == 1 else {})


def _reward(rewards: Record) -> float | None:
    """As `Trace.reward`: the weighted sum; None where nothing was scored."""
    try:
        paid = [float(one["score"]) * float(one.get("weight", 1.0)) for one in rewards.values() if one]
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return None
    return math.fsum(paid) if paid and all(map(math.isfinite, paid)) else None


def _tokens(calls: list[Record]) -> int | None:
    told = [_of(call, "usage").get("completion_tokens") for call in calls]
    counted = [count for count in told if isinstance(count, int)]
    return sum(counted) if counted else None


def _of(record: Any, name: str) -> Record:
    """A mapping in a mapping, {} where there is none."""
    value = record.get(name) if isinstance(record, dict) else None
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


FORMAT: Final = Format(
    "traces",
    _fits,
    rollouts=_rollouts,
    kind=lambda files: "eval",
    first_steps={"train": 1, "eval": 1},
    flat=False,
)
