"""Every question, answered a second time the slow way: rows read whole, annotated anew, and filtered in Python."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from r1rl.aha.detect.annotation import annotate
from r1rl.inspect.reader import queries
from r1rl.inspect.reader.filters import PAGE_ROWS, Filters
from r1rl.inspect.reader.index import Index, TookTooLongError
from r1rl.inspect.reader.queries import Place
from r1rl.inspect.reader.state import State
from r1rl.store import store
from r1rl.verify.verdict import outcome
from tests.store.old_runs import write_old_shard

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(wide_run: Path) -> list[Row]:
    """Every rollout with its annotations and its place, by nothing that the reader uses."""
    found = []
    for shard in store.shards(wide_run):
        table = store.read(wide_run, kind=shard.kind, steps=[shard.step]).to_pylist()
        for i, row in enumerate(row for row in table if row["rank"] == shard.rank):
            place = Place(wide_run.name, shard.kind, shard.step, shard.rank, i)
            found.append(row | {"place": place, "a": annotate(row)})
    return found


def _outcome(row: Row) -> str:
    return outcome(row["verdict"], row["verdict_reason"] or "", row["finish_reason"] or "")


def _labels(row: Row) -> set[str]:
    return {marker[name] for marker in row["a"]["markers"] or () for name in ("kind", "label")}


CASES: list[Any] = [
    pytest.param({}, lambda r: True, id="all"),
    pytest.param({"kind": "train"}, lambda r: r["kind"] == "train", id="kind"),
    pytest.param({"sampling": "greedy"}, lambda r: r["temperature"] == 0, id="greedy"),
    pytest.param({"sampling": "sampled", "kind": "eval"},
                 lambda r: r["kind"] == "eval" and r["temperature"] != 0, id="sampled"),
    pytest.param({"step": "4"}, lambda r: r["step"] == 4, id="a step"),
    pytest.param({"step": "2..8"}, lambda r: 2 <= r["step"] <= 8, id="a range of steps"),
    pytest.param({"step": "12.."}, lambda r: r["step"] >= 12, id="from a step on"),
    pytest.param({"reward": "..0.1"}, lambda r: r["reward"] is not None and r["reward"] <= 0.1, id="a reward at most"),
    pytest.param({"reward": "1.1"}, lambda r: r["reward"] == 1.1, id="a reward"),
    pytest.param({"tokens": "20-60"}, lambda r: 20 <= r["n_tokens"] <= 60, id="a length"),
    pytest.param({"prompt": "countdown:2-4-9>22#0"}, lambda r: r["prompt_id"] == "countdown:2-4-9>22#0", id="a prompt"),
    pytest.param({"group": "train-3-1-0"}, lambda r: r["group_id"] == "train-3-1-0", id="a group"),
    pytest.param({"verdict": ("no_answer", "truncated")},
                 lambda r: _outcome(r) in ("no_answer", "truncated"), id="verdicts"),
    pytest.param({"reason": "no "}, lambda r: (r["verdict_reason"] or "").startswith("no "), id="a reason"),
    pytest.param({"move": ("wrong_right",)}, lambda r: "wrong_right" in r["a"]["transitions"], id="a transition"),
    pytest.param({"move": ("right_wrong", "wrong_same")},
                 lambda r: {"right_wrong", "wrong_same"} & set(r["a"]["transitions"]), id="either transition"),
    pytest.param({"marker": ("interrupt",)}, lambda r: "interrupt" in _labels(r), id="a kind of marker"),
    pytest.param({"marker": ("harmful", "effective")}, lambda r: {"harmful", "effective"} & _labels(r), id="labels"),
    pytest.param({"flag": ("truncated",)}, lambda r: r["a"]["truncated"], id="cut off"),
    pytest.param({"flag": ("clean", "retried")},
                 lambda r: r["a"]["clean"] and r["a"]["n_attempts"] > 1, id="two flags"),
    pytest.param({"flag": ("superficial",)},
                 lambda r: r["a"]["markers"] and not {"effective", "harmful"} & _labels(r), id="superficial"),
    pytest.param({"flag": ("guess",)}, lambda r: r["a"]["guess"], id="a guess"),
    pytest.param({"flag": ("duplicate retry",)}, lambda r: (r["a"]["duplicate_retries"] or 0) > 0, id="tried before"),
    pytest.param({"flag": ("false check",)},
                 lambda r: any(g["says"] != g["truth"] for g in r["a"]["goal_tests"] or ()), id="a false check"),
    pytest.param({"text": "GOT"}, lambda r: "GOT" in r["completion"], id="capitals are looked for as they are"),
    pytest.param({"text": ", wait"}, lambda r: ", wait" in r["completion"].lower(), id="a text"),
    pytest.param({"text": "100%_"}, lambda r: "100%_" in r["completion"], id="no wildcards"),
    pytest.param({"regex": r"got \d+ yes.*got \d+ no"},
                 lambda r: re.search(r"got \d+ yes.*got \d+ no", r["completion"]), id="an expression"),
    pytest.param({"regex": "wait", "step": "4", "kind": "eval", "flag": ("retried",)},
                 lambda r: "wait" in r["completion"] and r["step"] == 4 and r["kind"] == "eval"
                 and r["a"]["n_attempts"] > 1, id="all at once"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "holds"), CASES)
def test_a_filter_finds_what_the_slow_way_finds(
    state: State, rows: list[Row], asked: Row, holds: Callable[[Row], Any]
) -> None:
    filters = Filters(**asked)
    wanted = {row["place"] for row in rows if holds(row)}
    pages = -(-len(wanted) // PAGE_ROWS)
    found = [
        row["place"]
        for page in range(1, pages + 1)
        for row in queries.page(state.index, Filters(**asked, page=page)).rows
    ]
    assert len(found) == len(set(found)), "no rollout twice"
    assert set(found) == wanted
    assert queries.count(state.index, filters) == len(wanted)


def test_the_cases_tell_something(rows: list[Row]) -> None:
    few = [case.id for case in CASES if not any(case.values[1](row) for row in rows)]
    assert few == ["capitals are looked for as they are", "no wildcards"]


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        pytest.param("newest", lambda r: -r["step"], id="newest"),
        pytest.param("oldest", lambda r: r["step"], id="oldest"),
        pytest.param("-tokens", lambda r: -r["n_tokens"], id="longest"),
        pytest.param("reward", lambda r: (r["reward"] is None, r["reward"] or 0), id="worst paid, unpaid last"),
        pytest.param("-attempts", lambda r: -r["a"]["n_attempts"], id="most attempts"),
    ],
)
def test_an_order_is_kept_over_pages(state: State, rows: list[Row], sort: str, key: Callable[[Row], Any]) -> None:
    by_place = {row["place"]: row for row in rows}
    pages = -(-len(rows) // PAGE_ROWS)
    found = [
        r["place"]
        for page in range(1, pages + 1)
        for r in queries.page(state.index, Filters(sort=sort, page=page)).rows
    ]
    keys = [key(by_place[place]) for place in found]
    assert keys == sorted(keys)
    assert len(set(found)) == len(rows)


def test_counts_add_up(state: State, rows: list[Row]) -> None:
    held_out = queries.page(state.index, Filters(kind="eval"))
    assert held_out.steps == {
        s: sum(r["kind"] == "eval" and r["step"] == s for r in rows) for s in (0, 4, 8, 12, 16, 20)
    }
    found = queries.page(state.index, Filters())
    assert found.outcomes == {name: sum(_outcome(r) == name for r in rows) for name in found.outcomes}
    assert sum(found.outcomes.values()) == found.count == found.total == len(rows)


def test_neighbours_walk_through_a_selection(state: State) -> None:
    filters = Filters(move=("wrong_right",), sort="-tokens")
    places = [row["place"] for row in queries.page(state.index, filters).rows[:6]]
    walked, at = [places[0]], places[0]
    assert queries.beside(state.index, filters, at)[0] is None
    for number in range(2, 7):
        _, at, _, _ = queries.beside(state.index, filters, at)
        walked.append(at)
        assert queries.beside(state.index, filters, at)[2] == number
    assert walked == places
    elsewhere = queries.first(state.index, Filters(kind="train"))[0]
    assert queries.beside(state.index, Filters(kind="eval"), elsewhere)[:3] == (None, None, None)


def test_a_rollout_is_read_whole(state: State, rows: list[Row]) -> None:
    for row in rows[:: len(rows) // 20]:
        found = queries.rollout(state.index, row["place"])
        assert {name: value for name, value in found.row.items() if row.get(name) is not None} == {
            name: value for name, value in row.items() if name not in ("a", "place") and value is not None
        }
        assert found.annotation == row["a"]


def test_a_group_is_ordered_by_reward(state: State, rows: list[Row]) -> None:
    row = next(row for row in rows if row["kind"] == "train" and row["step"] == 3 and row["rank"] == 1)
    group = queries.group(state.index, row["place"])
    mine = [other for other in rows if other["group_id"] == row["group_id"] and other["kind"] == "train"]
    assert {one["place"] for one in group} == {other["place"] for other in mine}
    assert [one["reward"] for one in group] == sorted((other["reward"] for other in mine), reverse=True)


def test_a_prompt_across_steps(state: State, rows: list[Row], wide_run: Path) -> None:
    prompt = "countdown:2-4-9>22#0"
    found = queries.across_steps(state.index, wide_run.name, prompt, greedy=False)
    wanted = [r for r in rows if r["kind"] == "eval" and r["prompt_id"] == prompt and r["temperature"] != 0]
    assert [(one["step"], one["sample_idx"]) for one in found] == sorted((r["step"], r["sample_idx"]) for r in wanted)
    (listed,) = queries.prompts(state.index, wide_run.name, kind="eval", search=prompt, rows=5)
    at_last = [r for r in rows if r["prompt_id"] == prompt and r["kind"] == "eval" and r["step"] == 20]
    assert listed["last_right"] == sum(r["verdict"] == "correct" for r in at_last)
    assert listed["last_judged"] == len(at_last)


def test_an_export_has_every_rollout_of_the_selection_in_its_order(state: State) -> None:
    filters = Filters(kind="train", sort="-tokens")
    lines = list(queries.exported(state.index, filters))
    assert len(lines) == queries.count(state.index, filters) > PAGE_ROWS
    assert [line["n_tokens"] for line in lines] == sorted((line["n_tokens"] for line in lines), reverse=True)
    assert lines[0]["annotations"]["n_attempts"] >= 1


@pytest.mark.parametrize(
    "text", ["", "x", "run:eval-0-0", "run:probe-0-0:1", "run:eval-0-0:-1", "run:eval-0-0:1:2", "a" * 999]
)
def test_a_place_is_written_in_one_way(text: str) -> None:
    with pytest.raises(ValueError, match="need a rollout's place"):
        Place.read(text)


@pytest.mark.parametrize(
    "place", ["wide:eval-0-0:9999", "wide:eval-1-0:0", "other:eval-0-0:0", "wide:train-0-7:0", "../wide:eval-0-0:0"]
)
def test_a_place_that_is_not_there(state: State, place: str) -> None:
    with pytest.raises(LookupError):
        queries.rollout(state.index, Place.read(place))


def test_an_expression_that_means_nothing_is_said(state: State) -> None:
    with pytest.raises(ValueError, match=r"regex='\(': .*missing \)"):
        queries.page(state.index, Filters(regex="("))


def test_a_question_that_takes_too_long_is_stopped(state: State) -> None:
    slow = "SELECT count(*) FROM range(100000) a, range(100000) b WHERE (a.range * b.range) % 7 = 3"
    begun = time.monotonic()
    with pytest.raises(TookTooLongError, match=r"stopped after 0\.2 s"):
        state.index.ask(slow, seconds=0.2)
    assert time.monotonic() - begun < 60


def test_an_index_follows_a_run_that_is_being_written(
    tmp_path: Path, make_run: Callable[..., Path], make_rollout: Callable[..., Row]
) -> None:
    run = make_run(tmp_path / "live", steps=2)
    index = Index([run])
    assert index.refresh()
    assert not index.refresh()
    before = queries.count(index, Filters())
    store.write_shard(run, [make_rollout("WR"), make_rollout("R", sample_idx=1)], kind="train", step=2, rank=0)
    assert index.refresh()
    assert queries.count(index, Filters()) == before + 2
    place = Place("live", "train", 2, 0, 0)
    assert queries.rollout(index, place).annotation["transitions"] is None, "not annotated yet"
    State([run]).refresh()
    assert index.refresh(), "annotated since"
    assert queries.rollout(index, place).transitions == ["wrong_right"]
    store.write_shard(run, [make_rollout("W")], kind="train", step=2, rank=0)
    index.refresh()
    assert queries.count(index, Filters()) == before + 1, "replaced"
    store.rewind(run, 1)
    index.refresh()
    assert queries.page(index, Filters(kind="train")).steps == {0: 4}
    index.close()


def test_many_readers_at_once(state: State) -> None:
    wanted = queries.count(state.index, Filters(text="wait"))
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(queries.page(state.index, Filters(text="wait")).count))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 8


def test_a_run_of_an_old_version_is_read_in_todays_terms(tmp_path: Path, make_rollout: Callable[..., Row]) -> None:
    sampled = [make_rollout("WR", sample_idx=i) for i in range(3)]
    write_old_shard(tmp_path / "old", sampled, kind="probe", step=0)
    write_old_shard(tmp_path / "old", [make_rollout("R", temperature=0.0)], kind="eval", step=0)
    index = Index([tmp_path / "old"])
    index.refresh()
    places = queries.first(index, Filters(kind="eval"), 9)
    assert len({str(place) for place in places}) == 4
    found = [queries.rollout(index, Place.read(str(place))).row for place in places]
    assert sorted(row["temperature"] for row in found) == [0.0, 1.0, 1.0, 1.0]
    assert {row["kind"] for row in found} == {"eval"}
    assert queries.count(index, Filters(sampling="greedy")) == 1
    index.close()
