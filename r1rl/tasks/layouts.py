"""How rows of data sets are laid out: columns in columns, questions as messages, golds in lists, Countdown's numbers.

A task's columns are told by its options, or recognised where the default columns are not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_NUMBERS = re.compile(r"[\[(]?\s*\d{1,12}(?:[\s,]+\d{1,12}){0,31}\s*[\])]?")
_WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0+")

# Where a question, a gold answer and Countdown's numbers stand in well-known data sets, the first that a row has.
QUESTIONS = ("question", "problem", "prompt", "input")
ANSWERS = ("answer", "reward_model.ground_truth", "ground_truth", "target")
NUMBERS = ("nums", "numbers")


def has(record: Mapping[str, Any], column: str) -> bool:
    """Whether there is such a column; `a.b` is the column b of the column a, unless one is called so."""
    if column in record:
        return True
    head, dot, rest = column.partition(".")
    inner = record.get(head)
    return bool(dot) and isinstance(inner, Mapping) and has(inner, rest)


def value(record: Mapping[str, Any], column: str) -> Any:
    """What stands in a column, None where there is none."""
    if column in record or "." not in column:
        return record.get(column)
    head, _, rest = column.partition(".")
    inner = record.get(head)
    return value(inner, rest) if isinstance(inner, Mapping) else None


def recognised(record: Mapping[str, Any]) -> dict[str, str | None]:
    """The columns of a row by option; `question_column` is None where numbers and a target are the question."""
    found: dict[str, str | None] = {}
    answer = next((column for column in ANSWERS if has(record, column)), None)
    if answer is not None:
        found["answer_column"] = answer
    numbers = next((column for column in NUMBERS if has(record, column)), None)
    question = next((column for column in QUESTIONS if has(record, column)), None)
    if numbers is not None and answer == "target":
        found |= {"numbers_column": numbers, "question_column": question}
    elif question is not None:
        found["question_column"] = question
    return found


def question(given: Any) -> str:
    """The text of a question, or of the one message of the user in a list of messages.

    Raises:
        ValueError: why there is none.
    """
    if isinstance(given, list) and given and all(isinstance(message, Mapping) for message in given):
        asked = [message.get("content") for message in given if message.get("role") == "user"]
        if len(asked) != 1 or given[-1].get("role") != "user":
            raise ValueError(f"{len(asked)} messages of the user; expected one, and nothing after it")
        given = asked[0]
    if not isinstance(given, str) or not given.strip():
        raise ValueError("no text")
    return given.strip()


def gold(given: Any) -> tuple[str, list[int] | None]:
    """A gold answer as text, and Countdown's numbers where they come with it, `{"target": 22, "numbers": [3, 5, 7]}`.

    A list of one answer is that answer, also as text, `["42"]`; 43.0 and "43.0" are "43".

    Raises:
        ValueError: why there is none.
    """
    if isinstance(given, str) and given.strip().startswith('["'):
        with suppress(ValueError, RecursionError):
            given = json.loads(given)
    if isinstance(given, Mapping) and {"target", "numbers"} <= given.keys():
        return gold(given["target"])[0], numbers(given["numbers"])
    if isinstance(given, list) and len(given) > 1:
        raise ValueError(f"{len(given)} answers")
    if isinstance(given, list) and given and not isinstance(given[0], list):
        given = given[0]
    if given is None or isinstance(given, Mapping | list | bool) or not str(given).strip():
        raise ValueError("no answer")
    return as_text(given), None


def as_text(answer: Any) -> str:
    """An answer as text: 43.0 and "43.0" are "43", other text stays as it is."""
    text = str(answer).strip()
    whole = _WHOLE_FLOAT.fullmatch(text)
    return whole[1] if whole else text


def numbers(given: Any) -> list[int]:
    """Whole numbers from a list of them or of texts, or from a text such as `[3, 5, 7]` or `3 5 7`.

    Raises:
        ValueError: it holds none, or something else.
    """
    if isinstance(given, str) and _NUMBERS.fullmatch(given.strip()):
        return [int(number) for number in re.findall(r"\d+", given)]
    try:
        found = [int(as_text(number)) for number in given] if isinstance(given, list | tuple) else []
    except ValueError:
        found = []
    if not found:
        raise ValueError("no numbers")
    return found
