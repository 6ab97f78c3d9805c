"""What readers ask of the rollouts of some runs. Each question is a function on the index; texts come from the shards.

A rollout is named by where it lies, `Place`: its run, kind, step and rank, which name a shard, and its row there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from r1rl.aha.detect.annotation import SCHEMA
from r1rl.aha.figures.annotations import PART_ROWS
from r1rl.inspect.reader.filters import PAGE_ROWS, Filters
from r1rl.inspect.reader.index import SECONDS, Index
from r1rl.inspect.run_data import Rollout
from r1rl.store import shard_files, view

SNIPPET: Final = 240
"""Characters of a completion that a table shows."""

BEFORE_MATCH: Final = 60
_EXPORT_ROWS: Final = 500
_PART: Final = re.compile(r"\.(\d+)-of-\d+\.parquet$")
_PLACE: Final = re.compile(r"(.+):(train|eval)-(\d{1,12})-(\d{1,9}):(\d{1,12})")
_ROW_COLUMNS: Final = (
    'shard, "row", run, kind, step, rank, prompt_id, group_id, sample_idx, temperature, n_tokens, outcome, reason, '
    "reward, correct, n_attempts, path, moves, markers, flags"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rollout lies; written `run:eval-20-0:13`."""

    run: str
    kind: str
    step: int
    rank: int
    row: int

    def __str__(self) -> str:
        return f"{self.run}:{self.kind}-{self.step}-{self.rank}:{self.row}"

    @classmethod
    def read(cls, text: str) -> Place:
        """Raises ValueError for what is written otherwise."""
        if not (match := _PLACE.fullmatch(text)):
            raise ValueError(f"at={text[:80]!r}: need a rollout's place, such as run:eval-20-0:13")
        return cls(match[1], match[2], int(match[3]), int(match[4]), int(match[5]))


@dataclass(frozen=True)
class Page:
    """A page of a selection.

    Args:
        rows: with the beginnings of their texts.
        count: rollouts of the selection.
        total: rollouts of the runs that are looked at.
        steps, outcomes: how many of the selection there are by step and by outcome.
    """

    rows: list[dict[str, Any]]
    count: int
    total: int
    steps: dict[int, int]
    outcomes: dict[str | None, int]


def page(index: Index, filters: Filters) -> Page:
    """A page of the rollouts that are asked for. Raises ValueError for an expression that means nothing."""
    with index.cursor() as cursor:
        source, values = _source(index, cursor, filters)
        offset = (filters.page - 1) * PAGE_ROWS
        sql = f"SELECT {_ROW_COLUMNS} {source} ORDER BY {filters.order} LIMIT {PAGE_ROWS} OFFSET {offset}"
        rows = _rows(cursor, sql, values)
        sql = f"SELECT step, outcome, count(*) {source} GROUP BY step, outcome ORDER BY step, outcome"
        steps: Counter[int] = Counter()
        outcomes: Counter[str | None] = Counter()
        for step, outcome, number in cursor.execute(sql, values).fetchall():
            steps[step] += number
            outcomes[outcome] += number
        (total,) = cursor.execute("SELECT count(*) FROM rollouts").fetchone() or (0,)
        _add_snippets(cursor, rows, filters)
    return Page([placed(index, row) for row in rows], steps.total(), total, dict(steps), dict(outcomes))


def count(index: Index, filters: Filters) -> int:
    """How many rollouts are asked for."""
    with index.cursor() as cursor:
        source, values = _source(index, cursor, filters)
        (found,) = cursor.execute(f"SELECT count(*) {source}", values).fetchone() or (0,)
    return int(found)


def first(index: Index, filters: Filters, rows: int = 1) -> list[Place]:
    """The places of the first few rollouts of a selection, in its order."""
    with index.cursor() as cursor:
        source, values = _source(index, cursor, filters)
        found = _rows(cursor, f"SELECT {_ROW_COLUMNS} {source} ORDER BY {filters.order} LIMIT {rows}", values)
    return [placed(index, row)["place"] for row in found]


def beside(index: Index, filters: Filters, place: Place) -> tuple[Place | None, Place | None, int | None, int]:
    """The rollouts before and after one in a selection, its place there from 1 (None: not there), and their number."""
    shard = _shard(index, place)

    def in_order() -> pa.Table:
        with index.cursor() as cursor:
            source, values = _source(index, cursor, filters)
            return cursor.sql(f"SELECT id {source} ORDER BY {filters.order}", params=values).to_arrow_table()

    ids = index.remembered(("order", replace(filters, page=1)), in_order)["id"].to_numpy()
    found = np.flatnonzero(ids == (shard << 32 | place.row))
    if not len(found):
        return None, None, None, len(ids)
    at = int(found[0])
    near = [int(ids[i]) for i in (at - 1, at + 1) if 0 <= i < len(ids)]
    sql = f"SELECT id, {_ROW_COLUMNS} FROM rollouts WHERE list_contains(?, id)"
    places = {row["id"]: placed(index, row)["place"] for row in index.ask(sql, [near])}
    before = places.get(int(ids[at - 1])) if at else None
    after = places.get(int(ids[at + 1])) if at + 1 < len(ids) else None
    return before, after, at + 1, len(ids)


def rollout(index: Index, place: Place) -> Rollout:
    """One rollout whole, and its annotations; these are null where there are none yet. Raises LookupError for none."""
    found = rollouts(index, [place])
    if place not in found:
        raise LookupError(f"{place}: no such rollout")
    return found[place]


def rollouts(index: Index, places: Sequence[Place], seconds: float = SECONDS) -> dict[Place, Rollout]:
    """Several rollouts whole, those that are there; each shard is read once."""
    wanted: dict[tuple[str, str, int, int], list[Place]] = {}
    for place in places:
        wanted.setdefault((place.run, place.kind, place.step, place.rank), []).append(place)
    found: dict[Place, Rollout] = {}
    with index.cursor(seconds) as cursor:
        for of_shard in wanted.values():
            path, files = _shard_files(index, cursor, of_shard[0])
            rows = [place.row for place in of_shard]
            try:
                stored = view.definition([path], [shard_files.footer(path)], places=True)
                sql = f"SELECT * EXCLUDE (filename) FROM ({stored}) WHERE list_contains(?, file_row_number)"
                texts = {row.pop("file_row_number"): row for row in _rows(cursor, sql, [rows])}
                annotated = _annotations(cursor, files, rows)
            except (FileNotFoundError, duckdb.IOException):
                raise LookupError(f"{of_shard[0]}: its shard was replaced; try again") from None
            for place in of_shard:
                if place.row in texts:
                    annotation = annotated.get(place.row) or dict.fromkeys(SCHEMA.names)
                    found[place] = Rollout(texts[place.row], annotation)
    return found


def group(index: Index, place: Place) -> list[dict[str, Any]]:
    """The rollouts sampled beside one, for the same prompt at the same step, the best paid first."""
    shard = _shard(index, place)
    return [
        placed(index, row)
        for row in index.ask(
            f"""WITH me AS (SELECT run, kind, step, prompt_id, group_id, temperature FROM rollouts
                WHERE shard = ? AND "row" = ?)
            SELECT {_ROW_COLUMNS} FROM rollouts SEMI JOIN me USING (run, kind, step, prompt_id, group_id)
            WHERE (temperature IS NOT DISTINCT FROM 0) = (SELECT temperature IS NOT DISTINCT FROM 0 FROM me)
            ORDER BY reward DESC NULLS LAST, correct DESC NULLS LAST, sample_idx, shard, "row" LIMIT 256""",
            [shard, place.row],
        )
    ]


def across_steps(index: Index, run: str, prompt_id: str, *, greedy: bool, kind: str = "eval") -> list[dict[str, Any]]:
    """The rollouts of one prompt at every step, in order of steps and samples; without texts."""
    return [
        placed(index, row)
        for row in index.ask(
            f"""SELECT {_ROW_COLUMNS} FROM rollouts
            WHERE run = ? AND kind = ? AND prompt_id = ? AND (temperature IS NOT DISTINCT FROM 0) = ?
            ORDER BY step, sample_idx, shard, "row" LIMIT 20000""",
            [index.names.index(run), kind, prompt_id, greedy],
        )
    ]


def prompts(index: Index, run: str, *, kind: str, search: str, rows: int, offset: int = 0) -> list[dict[str, Any]]:
    """Prompts of a run by id, with the number of rollouts and steps, and how many were right at the first and last."""
    return index.ask(
        """WITH mine AS (SELECT * FROM rollouts WHERE run = ? AND kind = ? AND contains(lower(prompt_id), lower(?))),
        ends AS (SELECT min(step) AS first, max(step) AS last FROM mine)
        SELECT prompt_id, count(*) AS rollouts, count(DISTINCT step) AS steps,
            sum(correct::INT) FILTER (step = first) AS first_right,
            count(correct) FILTER (step = first) AS first_judged,
            sum(correct::INT) FILTER (step = last) AS last_right,
            count(correct) FILTER (step = last) AS last_judged,
            count(*) OVER () AS prompts
        FROM mine, ends GROUP BY prompt_id
        ORDER BY coalesce(last_right / nullif(last_judged, 0), 0) - coalesce(first_right / nullif(first_judged, 0), 0)
            DESC, prompt_id LIMIT ? OFFSET ?""",
        [index.names.index(run), kind, search, rows, offset],
    )


def steps(index: Index, run: str) -> dict[str, list[int]]:
    """The steps that have rollouts, by kind."""
    found: dict[str, list[int]] = {}
    for row in index.ask(
        "SELECT DISTINCT kind, step FROM shards WHERE run = ? ORDER BY step", [index.names.index(run)]
    ):
        found.setdefault(row["kind"], []).append(row["step"])
    return found


def reasons(index: Index, rows: int = 40) -> list[str]:
    """The verifiers' commonest reasons."""
    found = index.ask("SELECT reason, count(*) AS n FROM rollouts WHERE reason IS NOT NULL GROUP BY reason "
                      "ORDER BY n DESC, reason LIMIT ?", [rows])  # fmt: skip
    return [row["reason"] for row in found]


def exported(index: Index, filters: Filters) -> Iterator[dict[str, Any]]:
    """Every rollout of a selection whole, in its order: the rows of the store, and what was annotated of each."""
    with index.cursor(seconds=60) as cursor:
        source, values = _source(index, cursor, filters)
        places = [
            placed(index, row)["place"]
            for row in _rows(cursor, f"SELECT {_ROW_COLUMNS} {source} ORDER BY {filters.order}", values)
        ]
    for at in range(0, len(places), _EXPORT_ROWS):
        some = places[at : at + _EXPORT_ROWS]
        try:
            found = rollouts(index, some, seconds=60)
        except LookupError:  # a resumed run deleted a shard
            continue
        for place in some:
            if place in found:
                yield {"at": str(place), **found[place].row, "annotations": found[place].annotation}


def placed(index: Index, row: dict[str, Any]) -> dict[str, Any]:
    """A row of the index with its `place`, and its run's name."""
    name = index.names[row["run"]]
    return row | {"run": name, "place": Place(name, row["kind"], row["step"], row["rank"], row["row"])}


def _shard(index: Index, place: Place) -> int:
    """The number of the shard that a rollout lies in. Raises LookupError for none."""
    with index.cursor() as cursor:
        return _of_shard(index, cursor, place, "shard")[0]


def _shard_files(index: Index, cursor: duckdb.DuckDBPyConnection, place: Place) -> tuple[Path, list[Path]]:
    """A shard, and the files of its annotations."""
    path, files = _of_shard(index, cursor, place, "path, files")
    return Path(path), [Path(name) for name in files]


def _of_shard(index: Index, cursor: duckdb.DuckDBPyConnection, place: Place, columns: str) -> Any:
    if place.run not in index.names:
        raise LookupError(f"{place}: no such run here")
    found = cursor.execute(
        f"SELECT {columns} FROM shards WHERE run = ? AND kind = ? AND step = ? AND rank = ?",
        [index.names.index(place.run), place.kind, place.step, place.rank],
    ).fetchone()
    if found is None:
        raise LookupError(f"{place}: no such rollout")
    return found


def _source(index: Index, cursor: duckdb.DuckDBPyConnection, filters: Filters) -> tuple[str, list[Any]]:
    """FROM and WHERE of a selection; the rollouts whose texts are asked for are found first."""
    condition, values = filters.where(index.names)
    if not filters.searches:
        return f"FROM rollouts WHERE {condition}", values
    hits = index.remembered(("texts", filters.chosen), lambda: _search(cursor, filters, condition, values))
    cursor.register("hits", hits)
    return "FROM rollouts WHERE id IN (SELECT id FROM hits)", []


def _search(cursor: duckdb.DuckDBPyConnection, filters: Filters, condition: str, values: list[Any]) -> pa.Table:
    """The ids of the rollouts of a selection; only the shards that have any of its other conditions are read."""
    shards = cursor.execute(
        f"SELECT path FROM shards WHERE shard IN (SELECT shard FROM rollouts WHERE {condition})", values
    ).fetchall()
    if not shards:
        return pa.table({"id": pa.array([], pa.int64())})
    text, wanted = filters.text_where()
    files = view.listed([Path(path) for (path,) in shards])
    try:
        return cursor.sql(
            f"""WITH texts AS (SELECT filename, file_row_number FROM
                read_parquet({files}, filename = true, file_row_number = true) WHERE {text})
            SELECT id FROM rollouts WHERE {condition} AND id IN (
                SELECT (shard::BIGINT << 32) | file_row_number FROM texts JOIN shards ON path = filename)""",
            params=[*wanted, *values],
        ).to_arrow_table()
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise ValueError(f"regex={filters.regex!r}: {error}") from None


def _rows(cursor: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    answer = cursor.execute(sql, list(values))
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _add_snippets(cursor: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], filters: Filters) -> None:
    """Give rows the beginning of their texts, or what stands around the first match."""
    if not rows:
        return
    needles: list[str] = []
    at = "1"
    if filters.text:
        column = "lower(completion)" if filters.text == filters.text.lower() else "completion"
        at, needles = f"strpos({column}, ?)", [filters.text]
    elif filters.regex:
        at, needles = "strpos(completion, nullif(regexp_extract(completion, ?), ''))", [filters.regex]
    wanted: dict[int, list[int]] = {}
    for row in rows:
        wanted.setdefault(row["shard"], []).append(row["row"])
    paths = dict(
        cursor.execute("SELECT shard, path FROM shards WHERE list_contains(?, shard)", [list(wanted)]).fetchall()
    )
    found = {}
    for shard, numbers in wanted.items():
        answer = cursor.execute(
            f"SELECT file_row_number, first, substr(completion, first, {SNIPPET}), length(completion) FROM "
            f"(SELECT file_row_number, completion, greatest(1, coalesce({at}, 1) - {BEFORE_MATCH}) AS first FROM "
            f"read_parquet({view.listed([Path(paths[shard])])}, file_row_number = true) "
            "WHERE list_contains(?, file_row_number))",
            [*needles, numbers],
        ).fetchall()
        found.update({(shard, row[0]): row[1:] for row in answer})
    for row in rows:
        start, text, length = found.get((row["shard"], row["row"]), (1, "", 0))
        row |= {"snippet": text or "", "snippet_from": start - 1, "n_chars": length}


def _annotations(
    cursor: duckdb.DuckDBPyConnection, files: Sequence[Path], rows: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """The annotations of some rows of a shard, those that are there."""
    found = {}
    for path in files:
        part = _PART.search(path.name)
        first = (int(part[1]) - 1) * PART_ROWS if part else 0
        mine = [row - first for row in rows if first <= row < first + PART_ROWS]
        if mine:
            sql = (
                f"SELECT * FROM read_parquet({view.listed([path])}, file_row_number = true) "
                "WHERE list_contains(?, file_row_number)"
            )
            found.update({row.pop("file_row_number") + first: row for row in _rows(cursor, sql, [mine])})
    return found
