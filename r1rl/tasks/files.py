"""Word problems from a local JSONL, JSON, CSV or Parquet file, or from a hub data set."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r1rl import verify
from r1rl.ground.errors import MissingDataError, RecipeError, nearest
from r1rl.tasks import Row, layouts, records
from r1rl.tasks.countdown import Countdown
from r1rl.verify import extraction

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+|-?[0-9]+(?:\.[0-9]+)?")
_DEFAULT_HELDOUT_FRACTION = 0.2


@dataclass
class FileTask:
    """Word problems from a file or a hub data set, one question and one gold answer a row.

    The split depends on nothing but `shuffle_seed` and the questions: they are ordered by a hash and the
    first ones are held out. Rows that ask the same question (case and spacing aside) are on the same side.

    Args:
        path: a .jsonl, .json, .csv or .parquet file; or give `dataset`.
        dataset, config, split, revision: a hub data set by name, its configuration (several joined by `+`), the split
            to read, and a commit, tag or branch.
        question_column, answer_column: the names of the columns; `a.b` is b within the column a. A question may be a
            list of messages, with one of the user. `answer_column: null` where a row has no answer but tests, as for
            the verifier `code`. Where none is named and there is no `question`, `problem` and `prompt` are looked for,
            and for the answer `reward_model.ground_truth` (verl), `ground_truth` and `target`; what is found is said.
        numbers_column: Countdown's numbers, as a list or a text; the answer is the target. Without a question column
            the question is that of the task `countdown`, and the verifier `countdown`. `nums` is recognised.
        meta_column: a column with what the verifier needs besides, as a JSON object: `{"choices": [...]}` for
            `choice`, `{"tests": ...}` for `code`.
        answer_pattern: a regular expression with one group that finds the gold answer in the answer column,
            for example `#### (.+)` for GSM8K; without one the whole column is the answer. 43.0 becomes "43".
        answer_extraction: where in a worked solution the gold answer stands, as `boxed`: a policy of grading.
        question_pattern: a regular expression with one group that finds the question in its column; a text that it
            does not match is the question as it is.
        distinct: leave out rows whose question came before (case and spacing aside).
        name: what rows and messages call the task.
        pass_rates, pass_low, pass_high: a file of `r1rl data passrate`; with it only questions are used whose rate of
            right answers is at least `pass_low` and at most `pass_high`. One without a rate is left out.
        limit: use only the first so many usable rows.
        heldout_fraction, heldout_size: how much is held out, as a share or in rows (not both; default 0.2).
        shuffle_seed: another value, another split.
        verifier: name of the verifier; default: `math`, or `countdown` where rows give numbers.
        final_value: whether an expression that only comes to a number is wrong (`65 - 4` for 61), for the verifier
            `math`; default: where every answer of the data is a plain number, as in word problems.

    `bad_rows` says of each row left out where it stands and why, once rows were read.
    """

    path: str | None = None
    dataset: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    question_column: str | None = "question"
    answer_column: str | None = "answer"
    numbers_column: str | None = None
    meta_column: str | None = None
    answer_pattern: str | None = None
    answer_extraction: str | None = None
    question_pattern: str | None = None
    distinct: bool = False
    pass_rates: str | None = None
    pass_low: float = 0.0
    pass_high: float = 1.0
    limit: int | None = None
    heldout_fraction: float | None = None
    heldout_size: int | None = None
    shuffle_seed: int = 0
    verifier: str = ""
    final_value: bool | None = None
    name: str = "file"
    bad_rows: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    _recognised: bool = field(default=False, init=False, repr=False, compare=False)
    _splits: dict[str, list[Row]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._chosen_verifier = self.verifier
        self.verifier = self.verifier or ("math" if self.numbers_column is None else "countdown")
        if (self.path is None) == (self.dataset is None):
            given = "neither" if self.path is None else "both"
            raise RecipeError(f"task_options: {given} of path and dataset given; say which file or which hub data set")
        for key in ("config", "revision"):
            if (value := getattr(self, key)) is not None and self.dataset is None:
                raise RecipeError(f"task_options.{key}={value!r}: belongs to dataset, a file has none")
        if self.path is not None:
            file = Path(self.path).expanduser()
            if file.suffix.lower() not in records.SUFFIXES:
                raise RecipeError(f"task_options.path={self.path!r}: need one of {', '.join(records.SUFFIXES)}")
            if not file.is_file():
                raise MissingDataError(f"task_options.path={self.path!r}: no such file")
        if self.verifier not in verify.names():
            known = ", ".join(verify.names())
            raise RecipeError(f"task_options.verifier={self.verifier!r}: unknown, known are {known}")
        if self.question_column is None and self.numbers_column is None:
            raise RecipeError("task_options.question_column: null needs a numbers_column, or nothing is asked")
        if self.answer_column is None and self.meta_column is None:
            raise RecipeError("task_options.answer_column: null needs a meta_column, or nothing says what is right")
        if self.answer_column is None and self.answer_pattern is not None:
            raise RecipeError("task_options.answer_pattern: there is no answer_column to search")
        if self.answer_extraction is not None and self.answer_extraction not in extraction.names():
            raise RecipeError(
                f"task_options.answer_extraction={self.answer_extraction!r}: unknown, known are "
                f"{', '.join(extraction.names())}{nearest(self.answer_extraction, extraction.names())}"
            )
        for key, what in (("answer_pattern", "answer, such as '#### (.+)'"), ("question_pattern", "question")):
            _check_pattern(key, getattr(self, key), what)
        if not 0 <= self.pass_low <= self.pass_high <= 1:
            raise RecipeError(
                f"task_options.pass_low={self.pass_low}, pass_high={self.pass_high}: need 0 <= low <= high"
            )
        if self.limit is not None and self.limit < 2:
            raise RecipeError(f"task_options.limit={self.limit}: need at least 2, one to train on and one held out")
        if self.heldout_fraction is not None and self.heldout_size is not None:
            raise RecipeError("task_options: heldout_fraction and heldout_size say the same thing; give one")
        if self.heldout_fraction is not None and not 0 < self.heldout_fraction < 1:
            raise RecipeError(f"task_options.heldout_fraction={self.heldout_fraction}: need more than 0, less than 1")
        if self.heldout_size is not None and self.heldout_size < 1:
            raise RecipeError(f"task_options.heldout_size={self.heldout_size}: need at least 1")

    @staticmethod
    def located(options: dict[str, Any], recipe_folder: Path) -> dict[str, Any]:
        """The options with `path` and `pass_rates` as they stand (from the current folder), else from the recipe's.

        Raises:
            RecipeError: a file is in neither; both places are named.
        """
        found = {}
        for key, remedy in (
            ("path", "put it there or say where: --task_options.path FILE"),
            ("pass_rates", "`r1rl data passrate RUN --to FILE` makes it"),
        ):
            if not isinstance(options.get(key), str):
                continue
            given = Path(options[key]).expanduser()
            places = list(dict.fromkeys([Path.cwd() / given, recipe_folder.resolve() / given]))
            there = next((place for place in places if place.is_file()), None)
            if there is None:
                looked = " and ".join(map(str, places))
                kind = MissingDataError if key == "path" else RecipeError
                raise kind(f"task_options.{key}={options[key]!r}: no such file (looked for {looked}); {remedy}")
            found[key] = str(there)
        return options | found

    def rows(self, split: str, count: int) -> list[Row]:
        """At most `count` training rows, or exactly `count` held-out rows, in shuffled order.

        Raises:
            ValueError: no usable rows, a missing column (the present ones are named), too few held-out rows.
        """
        if split not in ("train", "heldout"):
            raise ValueError(f"split={split!r}: need 'train' or 'heldout'")
        if not self._splits:
            self._splits.update(self._split(self.every_row()))
        found = self._splits[split]
        if split == "heldout" and len(found) < count:
            raise RecipeError(
                f"heldout_size={count}: {self._source()} holds out {len(found)} rows; ask for fewer, or "
                "raise task_options.heldout_fraction or task_options.heldout_size"
            )
        return found[:count]

    def _source(self) -> str:
        return Path(self.path).name if self.path is not None else str(self.dataset)

    def every_row(self) -> list[Row]:
        """Every usable row in file order; the others are counted and reported."""
        rows = list(self.each_row())
        examples = "; ".join(self.bad_rows[:3])
        if len(rows) < 2:
            raise RecipeError(
                f"{self._source()}: {len(rows)} usable rows, {len(self.bad_rows)} bad ones"
                f"{f' ({examples})' if examples else ''}; need at least 2"
            )
        if self.bad_rows:
            logger.warning("%s: left out %d bad rows (%s)", self._source(), len(self.bad_rows), examples)
        return (
            [replace(row, meta=row.meta | {"final_value": True}) for row in rows] if self._final_value(rows) else rows
        )

    def each_row(self) -> Iterator[Row]:
        """The usable rows one after another, for a set that need not fit in memory; `bad_rows` has the others.

        Raises:
            RecipeError: a column is missing in every row.
        """
        self.bad_rows.clear()
        count = 0
        columns: set[str] = set()
        seen: set[bytes] = set()
        missing: dict[str, str] | None = None
        rates = None if self.pass_rates is None else records.pass_rates(self.pass_rates)
        for number, record in self._records():
            if self.limit is not None and count >= self.limit:
                break
            if isinstance(record, list):  # a conversation without names, as Open-Reasoner-Zero's
                record = {str(place): part for place, part in enumerate(record)}
            if missing is None and isinstance(record, dict):
                self._recognise(record)
                options = ("question_column", "answer_column", "meta_column", "numbers_column")
                missing = {option: column for option in options if (column := getattr(self, option)) is not None}
            source = f"{self._source()}:{number}"
            if isinstance(record, dict):
                columns |= set(map(str, record))
                missing = {name: column for name, column in (missing or {}).items() if not layouts.has(record, column)}
            row = self._row(source, number, record)
            if isinstance(row, str):
                self.bad_rows.append(f"{source}: {row}")
                continue
            if rates is not None and not self.pass_low <= rates.get(row.prompt_id, -1.0) <= self.pass_high:
                continue
            if self.distinct:
                if (digest := _question_digest(row.question)) in seen:
                    continue
                seen.add(digest)
            count += 1
            yield row
        if columns and missing:
            option, column = next(iter(missing.items()))
            raise RecipeError(
                f"task_options.{option}={column!r}: {self._source()} has no such column, it has "
                f"{', '.join(sorted(columns))}{nearest(column, columns)}"
            )

    def _final_value(self, rows: Sequence[Row]) -> bool:
        """Whether answers must be worked out, see the options."""
        if self.verifier != "math":
            return False
        return all(_NUMBER.fullmatch(row.gold) for row in rows) if self.final_value is None else self.final_value

    def _recognise(self, record: dict[str, Any]) -> None:
        """Take well-known columns where none were named and the default ones are not there, and say so."""
        if self.numbers_column is not None and not self._recognised:
            if self.question_column == "question" and not layouts.has(record, "question"):
                self.question_column = None
            if self.answer_column == "answer" and not layouts.has(record, "answer"):
                self.answer_column = "target"
        if self._recognised or (self.question_column, self.answer_column) != ("question", "answer"):
            return
        if layouts.has(record, "question") and layouts.has(record, "answer"):
            return
        found = layouts.recognised(record)
        if "question_column" not in found or "answer_column" not in found:
            return
        self._recognised = True
        for option, column in found.items():
            setattr(self, option, column)
        answer = layouts.value(record, str(self.answer_column))
        if not self._chosen_verifier and ("numbers_column" in found or isinstance(answer, dict)):
            self.verifier = "countdown"
        said = ", ".join(f"{option}={column}" for option, column in found.items() if column is not None)
        asked = layouts.value(record, self.question_column) if self.question_column else None
        if isinstance(asked, list) and len(asked) > 1:
            said += ", without the system message"
        logger.warning("%s: recognised %s; verifier %s", self._source(), said, self.verifier)

    def _row(self, source: str, number: int, record: Any) -> Row | str:
        """The row, or why it is unusable."""
        if not isinstance(record, dict):
            return str(record) if isinstance(record, ValueError) else "not a mapping of columns"
        meta = self._meta(record)
        if meta is None:
            return f"no JSON object in {self.meta_column!r}"
        gold, column = "", self.answer_column
        try:
            if column is not None:
                gold, numbers = layouts.gold(layouts.value(record, column))
                meta = meta if numbers is None else {"numbers": numbers} | meta
            if (column := self.numbers_column) is not None:
                meta = {"numbers": layouts.numbers(layouts.value(record, column))} | meta
            if (column := self.question_column) is not None:
                question = layouts.question(layouts.value(record, column))
                if self.question_pattern is not None and (match := re.search(self.question_pattern, question)):
                    question = match[1].strip() or question
            else:
                question = Countdown().question(meta["numbers"], gold)
        except ValueError as error:
            return f"{error} in {column!r}"
        if self.answer_extraction is not None:
            found, reason = extraction.get(self.answer_extraction)(gold)
            if found is None:
                return f"{reason} in {self.answer_column!r}"
            gold = layouts.as_text(found)
        if self.answer_pattern is not None:
            match = re.search(self.answer_pattern, gold)
            if match is None or match[1] is None or not match[1].strip():
                return f"answer_pattern finds nothing in {gold[-60:]!r}"
            gold = layouts.as_text(match[1])
        stem = self._source().rsplit(".", 1)[0] if self.path is not None else self._source()
        return Row(f"{stem}:{number}", question, gold, meta | {"source": source}, record)

    def _meta(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """What the verifier needs besides the gold answer; None if it is no JSON object."""
        if self.meta_column is None:
            return {}
        found = layouts.value(record, self.meta_column)
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                return None
        return found if isinstance(found, dict) else None

    def _split(self, rows: list[Row]) -> dict[str, list[Row]]:
        """Rows by split, each in hash order of their questions."""
        groups: dict[bytes, list[Row]] = {}
        for row in rows:
            groups.setdefault(_question_digest(row.question, self.shuffle_seed), []).append(row)
        fraction = _DEFAULT_HELDOUT_FRACTION if self.heldout_fraction is None else self.heldout_fraction
        wanted = max(1, round(fraction * len(rows))) if self.heldout_size is None else self.heldout_size
        heldout: list[Row] = []
        train: list[Row] = []
        for key in sorted(groups):
            (heldout if len(heldout) < wanted else train).extend(groups[key])
        if not train:
            raise RecipeError(
                f"task_options: holding out {wanted} of the {len(rows)} usable rows "
                f"({len(groups)} distinct questions) of {self._source()} leaves none to train on; "
                "lower heldout_size or heldout_fraction"
            )
        return {"train": train, "heldout": heldout}

    def _records(self) -> Iterator[tuple[int, Any]]:
        """Numbered records, from 1; a line that cannot be read appears as the ValueError that says why."""
        if self.path is not None:
            return records.of_file(self.path)
        return enumerate(records.of_hub(str(self.dataset), self.config, self.revision, self.split), 1)


def _check_pattern(key: str, pattern: str | None, what: str) -> None:
    """Raise RecipeError unless a pattern has exactly one group."""
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise RecipeError(f"task_options.{key}={pattern!r}: {error}") from None
    if groups != 1:
        raise RecipeError(f"task_options.{key}={pattern!r}: has {groups} groups, need exactly one around the {what}")


def _question_digest(question: str, seed: int = 0) -> bytes:
    """Stands for a question, case and spacing aside."""
    return hashlib.sha256(f"{seed}|{' '.join(question.casefold().split())}".encode()).digest()
