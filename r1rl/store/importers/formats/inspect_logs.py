"""Inspect AI's logs: `.eval` (a zip) and `.json`; a rollout is a sample of an epoch.

Read in inspect-ai 0.3.285 (`EvalSample`, `recorders/eval.py`, `recorders/chunked/format.py`). What the model wrote are
the messages that say `source: generate`; the verdict is the first scorer's, C or 1 for right. A log has no step: it is
`step` in the task's metadata, or the checkpoint's number in the model's name, where there is one. Its log-probabilities
are of texts, without token ids, and are not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from r1rl.store.importers.formats.base import FINISHED, MODEL, Format, Record, Seen, step_of_name
from r1rl.store.importers.formats.messages import is_messages, split
from r1rl.store.importers.formats.zips import Archive, content

SAMPLE: Final = "eval_sample"  # a record of this module: one sample, beside what holds for the whole log
_CHECKPOINT: Final = re.compile(r"checkpoint[_-](\d{1,12})(?:\D|$)")
_CHUNK: Final = re.compile(r"(samples/.*_epoch_\d+/)(messages|attachments)/(\d{1,12})\.json", re.DOTALL)
_NAME: Final = re.compile(r"samples/.*_epoch_\d+(?:\.json|/sample\.json)", re.DOTALL)
_VALUES: Final[dict[object, float]] = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, True: 1.0, False: 0.0}
_MOST_MESSAGES: Final = 100_000
_ATTACHMENT: Final = "attachment://"


def samples_in_zip(file: Path) -> Iterator[Record]:
    """The samples of an `.eval` file, one at a time. Raises ValueError as `Archive`."""
    with Archive(file) as archive:
        chunks = _chunks(archive.names)
        head = archive.json("header.json") if "header.json" in archive.names else archive.json("_journal/start.json")
        for name in archive.names:
            if not _NAME.fullmatch(name):
                continue
            sample = archive.json(name)
            if isinstance(sample, dict) and name.endswith("/sample.json"):
                sample |= _of_chunks(archive, name.removesuffix("sample.json"), chunks, sample.get("message_refs"))
            yield {SAMPLE: sample, "log": head}


def samples_in_json(log: Record) -> Iterator[Record]:
    """The samples of a `.json` log."""
    for sample in log.get("samples") or ():
        yield {SAMPLE: sample, "log": {name: log.get(name) for name in ("eval", "plan")}}


def is_log(value: object) -> bool:
    """Whether a JSON file's content is a log."""
    return isinstance(value, dict) and {"eval", "plan", "status"} <= value.keys()


def _chunks(names: Iterable[str]) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """The members that a sample written in pieces has, by the sample's folder and kind; named by their first item."""
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        if match := _CHUNK.fullmatch(name):
            found.setdefault((match[1], match[2]), []).append((int(match[3]), name))
    return found


def _of_chunks(
    archive: Archive, folder: str, chunks: Mapping[tuple[str, str], list[tuple[int, str]]], ranges: Any
) -> Record:
    """The messages, attachments and metadata of a sample that is written in pieces."""

    def sequence(kind: str) -> list[Any]:
        members = sorted(chunks.get((folder, kind), ()))
        return [item for _, member in members for item in content(archive.json(member), list)]

    every, messages = sequence("messages"), []
    for pair in ranges if isinstance(ranges, list) else ():
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(end, int) and end >= 0 for end in pair):
            messages += every[pair[0] : pair[1]]
        if len(messages) > _MOST_MESSAGES:  # ranges may overlap, and so name the same ones without end
            raise ValueError(f"{folder[:200]!r}: more than {_MOST_MESSAGES:,} messages in one sample; not read")
    found: Record = {"messages": messages, "attachments": {str(i): s for i, s in enumerate(sequence("attachments"))}}
    metadata = f"{folder}metadata.json"
    return found | ({"metadata": archive.json(metadata)} if metadata in archive.names else {})


def _rollouts(record: Record, file: Path, seen: Seen) -> Iterable[Record]:
    sample, log = content(record.get(SAMPLE), dict), content(record.get("log"), dict)
    evaluation, output = content(log.get("eval"), dict), content(sample.get("output"), dict)
    config = content(content(log.get("plan"), dict).get("config"), dict)
    config = content(evaluation.get("model_generate_config"), dict) | config
    choice = content((content(output.get("choices"), list) or [{}])[0], dict)
    prompt, completion = _conversation(sample, output)
    scores = {name: _value(score) for name, score in content(sample.get("scores"), dict).items()}
    first = next(iter(scores.values()), None)
    task = str(evaluation.get("task") or "imported")
    usage, step = content(output.get("usage"), dict), _step(evaluation)
    if step is None:
        seen[MODEL + str(evaluation.get("model"))[:100]] += 1
    row = {
        **{name: value for name, value in scores.items() if value is not None},
        "prompt": prompt,
        "completion": completion,
        "gold": _target(sample.get("target")),
        "meta": sample.get("metadata"),
        "reward": first,
        "verdict": None if first is None or not 0 <= first <= 1 else "correct" if first == 1 else "wrong",
        "prompt_id": f"{task}:{sample.get('id')}",
        "task": task,
        "n_tokens": usage.get("output_tokens"),
        "finish_reason": FINISHED.get(str(choice.get("stop_reason"))),
        "temperature": config.get("temperature"),
        "top_p": config.get("top_p"),
        "cap": config.get("max_tokens"),
        "step": step,
    }
    return [row]


def _conversation(sample: Record, output: Record) -> tuple[Any, Any]:
    """What the model read, and the messages that it wrote with what came between them."""
    messages = _resolved(sample.get("messages"), content(sample.get("attachments"), dict))
    asked = _resolved(sample.get("input"), content(sample.get("attachments"), dict))
    if not is_messages(messages):
        return asked, output.get("completion") or None
    own = [i for i, message in enumerate(messages) if message.get("source") == "generate"]
    before, after = (messages[: own[0]], messages[own[0] :]) if own else split(messages)
    return before or asked, after or output.get("completion") or None


def _resolved(value: Any, attachments: Record) -> Any:
    """Messages with the texts that the log keeps once, apart. Only a whole text is replaced, so nothing can swell."""
    if isinstance(value, str) and value.startswith(_ATTACHMENT):
        found = attachments.get(value.removeprefix(_ATTACHMENT))
        return found if isinstance(found, str) else value
    if isinstance(value, list):
        return [_resolved(item, attachments) for item in value]
    if isinstance(value, dict):
        texts = ("content", "text", "reasoning")
        return {name: _resolved(item, attachments) if name in texts else item for name, item in value.items()}
    return value


def _target(target: Any) -> Any:
    """Several targets are all right; the first is the gold answer."""
    return target[0] if isinstance(target, list) and target else target


def _value(score: Any) -> float | None:
    value = score.get("value") if isinstance(score, dict) else None
    if isinstance(value, str | bool):
        return _VALUES.get(value)
    return float(value) if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53) else None


def _step(evaluation: Record) -> Any:
    told = content(evaluation.get("metadata"), dict).get("step")
    if told is not None:
        return told
    model = str(evaluation.get("model") or "")
    found = _CHECKPOINT.search(model)
    return int(found[1]) if found else step_of_name(model.rpartition("/")[2])


FORMAT: Final = Format(
    "inspect",
    lambda file, record: SAMPLE in record,
    rollouts=_rollouts,
    kind=lambda files: "eval",
    flat=False,
)
