"""Problems as rows of a data set: what rewards are given, r1rl's own columns and all those of the data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from r1rl.tasks import Row, Task, prompts

# Arguments of a reward that TRL gives itself, and columns by which it tells data with images or tools.
_TAKEN = frozenset(
    {"prompts", "completion", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}
    | {"environments", "environment", "image", "images", "tools", "chat_template_kwargs"}
)


def dataset_rows(rows: Sequence[Row], task: Task, prompt: prompts.Prompt) -> list[dict[str, Any]]:
    """Problems as rows of a training or held-out set: prompt, prompt_id, question, gold, meta (JSON) and the rest.

    The data's own columns come along under their names, where r1rl and TRL have no column of that name.
    """
    return [
        columns
        | {
            "prompt": (text := prompt.render(row.question)),
            "prompt_id": row.prompt_id,
            "question": row.question,
            "gold": row.gold,
            "meta": json.dumps(row.meta, ensure_ascii=False),
            "verifier": row.verifier or task.verifier,
            "task": task.name,
            "template": prompt.name,
            "prefill": prompts.opened(text),
        }
        for row, columns in zip(rows, _of_the_data(rows), strict=True)
    ]


def _of_the_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The data's own columns, in every row the same ones; one that mixes types is text, which a table can hold."""
    import pyarrow

    found: dict[str, list[Any]] = {}
    for name in sorted({name for row in rows for name in row.columns} - _TAKEN):
        values = [row.columns.get(name) for row in rows]
        try:
            pyarrow.array(values)
        except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
            values = [None if value is None else _text(value) for value in values]
        found[name] = values
    return [{name: values[i] for name, values in found.items()} for i in range(len(rows))]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()
