"""Word problems from files: formats, gold answers, the split, and files with faults."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from r1rl import tasks
from r1rl.ground.errors import RecipeError
from r1rl.tasks import prompts
from r1rl.tasks.countdown import Countdown
from r1rl.tasks.dataset import dataset_rows
from r1rl.tasks.files import FileTask

COUNTDOWN = Countdown().question([3, 5, 7], 22)
ROWS = [{"question": f"What is {n} plus 1?", "answer": n + 1} for n in range(50)]


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def all_rows(task: FileTask) -> list[tasks.Row]:
    found = task.rows("train", 10**9)
    return found + list(task._splits["heldout"])


def write_as(suffix: str, path: Path) -> Path:
    path = path.with_suffix(suffix)
    if suffix in (".jsonl", ".ndjson"):
        return jsonl(path, ROWS)
    if suffix == ".json":
        path.write_text(json.dumps(ROWS))
    elif suffix == ".csv":
        path.write_text("question,answer\n" + "".join(f'"{row["question"]}",{row["answer"]}\n' for row in ROWS))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".csv", ".parquet"])
def test_every_format_gives_the_same_problems(tmp_path: Path, suffix: str) -> None:
    task = FileTask(path=str(write_as(suffix, tmp_path / "data")))
    train, heldout = task.rows("train", 1000), task.rows("heldout", 10)
    assert len(train) == 40
    assert len(heldout) == 10
    assert {(row.question, row.gold) for row in train + heldout} == {(r["question"], str(r["answer"])) for r in ROWS}
    assert task.bad_rows == []


@pytest.mark.parametrize(
    ("answer", "pattern", "gold"),
    [
        pytest.param(43.0, None, "43", id="MAWPS: 43.0 is 43"),
        pytest.param("43.0", None, "43", id="the same as text"),
        pytest.param(-3.0, None, "-3", id="negative"),
        pytest.param(0.5, None, "0.5", id="a real fraction stays"),
        pytest.param("1.50", None, "1.50", id="text is not rounded"),
        pytest.param(" 7 ", None, "7", id="spaces"),
        pytest.param("He buys 3.\n#### 1,450", "#### (.+)", "1,450", id="GSM8K"),
        pytest.param("\\frac{1}{2}", None, "\\frac{1}{2}", id="LaTeX"),
    ],
)
def test_gold(tmp_path: Path, answer: Any, pattern: str | None, gold: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"question": f"q{n}", "answer": answer} for n in range(3)])
    assert {row.gold for row in all_rows(FileTask(path=str(path), answer_pattern=pattern))} == {gold}


def test_rows_name_their_source(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"question": "one", "answer": 1}, "", {"question": "two", "answer": 2}])
    rows = {row.question: row for row in all_rows(FileTask(path=str(path)))}
    assert rows["two"].meta == {"source": "a.jsonl:3", "final_value": True}
    assert rows["two"].prompt_id == "a:3"


def test_the_split_is_the_same_every_time_and_for_every_count(tmp_path: Path) -> None:
    path = str(jsonl(tmp_path / "a.jsonl", ROWS))
    first, second = FileTask(path=path, heldout_size=12), FileTask(path=path, heldout_size=12)
    assert second.rows("heldout", 5) == first.rows("heldout", 12)[:5]
    assert second.rows("train", 20) == first.rows("train", 38)[:20]
    other = FileTask(path=path, heldout_size=12, shuffle_seed=1)
    assert other.rows("heldout", 12) != first.rows("heldout", 12)


def test_the_split_does_not_depend_on_file_order(tmp_path: Path) -> None:
    forward = FileTask(path=str(jsonl(tmp_path / "a.jsonl", ROWS)))
    backward = FileTask(path=str(jsonl(tmp_path / "b.jsonl", ROWS[::-1])))
    questions = [[row.question for row in task.rows("heldout", 10)] for task in (forward, backward)]
    assert questions[0] == questions[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=8, max_size=40), st.integers(1, 6))
def test_a_question_is_never_on_both_sides(tmp_path: Path, numbers: list[int], heldout_size: int) -> None:
    spellings = ["What is {}?", "what is  {}?", "WHAT IS {}? "]
    rows = [{"question": spellings[i % 3].format(n), "answer": n} for i, n in enumerate(numbers)]
    task = FileTask(path=str(jsonl(tmp_path / "a.jsonl", rows)), heldout_size=heldout_size)
    try:
        train, heldout = task.rows("train", 1000), task.rows("heldout", heldout_size)
    except RecipeError:
        # Only where the held-out questions, with all their repetitions, are the whole file.
        assert len(rows) - heldout_size < max(map(numbers.count, numbers))
        return
    assert train
    assert len(heldout) == heldout_size
    assert not {row.gold for row in train} & {row.gold for row in task._splits["heldout"]}
    assert len(train) + len(task._splits["heldout"]) == len(rows)


def test_bad_rows_are_counted_and_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [
        "{not json",
        "[1, 2]",
        {"question": "  ", "answer": "#### 1"},
        {"question": "q"},
        {"question": "q", "answer": None},
        {"question": "q", "answer": "no marker"},
        {"question": "q", "answer": [1]},
        {"question": 5, "answer": "#### 1"},
    ]
    good = [{"question": f"good {n}", "answer": f"#### {n}"} for n in range(4)]
    task = FileTask(path=str(jsonl(tmp_path / "a.jsonl", [*bad, *good])), answer_pattern="#### (.+)")
    with caplog.at_level(logging.WARNING):
        assert len(all_rows(task)) == 4
    assert [bad.split(": ")[0] for bad in task.bad_rows] == [f"a.jsonl:{n}" for n in range(1, 9)]
    assert "left out 8 bad rows (a.jsonl:1: not JSON" in caplog.text
    assert "answer_pattern finds nothing in 'no marker'" in task.bad_rows[5]


def test_limit_counts_usable_rows(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ["{", *ROWS])
    assert {row.question for row in all_rows(FileTask(path=str(path), limit=10))} == {r["question"] for r in ROWS[:10]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"question_column": "qestion"}, "has no such column, it has answer, question; did you", id="typo"),
        pytest.param({"answer_column": "target"}, "answer_column='target'", id="no answer column"),
        pytest.param(
            {"answer_pattern": "#### (.+)"},
            "0 usable rows, 50 bad ones (a.jsonl:1: answer_pattern",
            id="none",
        ),
        pytest.param({"heldout_size": 50}, "leaves none to train on", id="everything held out"),
    ],
)
def test_files_that_do_not_fit_the_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    task = FileTask(path=str(jsonl(tmp_path / "a.jsonl", ROWS)), **options)
    with pytest.raises(RecipeError) as error:
        task.rows("train", 1)
    assert message in str(error.value)


def test_too_few_held_out_rows(tmp_path: Path) -> None:
    task = FileTask(path=str(jsonl(tmp_path / "a.jsonl", ROWS)))
    with pytest.raises(RecipeError, match=r"heldout_size=11: a\.jsonl holds out 10 rows"):
        task.rows("heldout", 11)
    with pytest.raises(ValueError, match="split='test'"):
        task.rows("test", 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.parquet", b"not parquet", id="parquet"),
        pytest.param("a.json", b"{", id="json"),
        pytest.param("a.json", b'{"a": 1}', id="json without a list"),
        pytest.param("a.csv", b"question,answer\n\xff\xfe,1\n", id="not text"),
        pytest.param("a.jsonl", b"", id="empty"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match="a\\."):
        FileTask(path=str(tmp_path / name)).rows("train", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({}, "neither of path and dataset", id="no source"),
        pytest.param({"path": "x.jsonl", "dataset": "y"}, "both of path and dataset", id="two sources"),
        pytest.param({"path": "x.txt"}, "need one of .jsonl", id="unknown format"),
        pytest.param({"path": "x.jsonl"}, "no such file", id="no file"),
        pytest.param({"dataset": "a/b", "answer_pattern": "("}, "answer_pattern", id="bad pattern"),
        pytest.param({"dataset": "a/b", "answer_pattern": "a"}, "has 0 groups", id="pattern without group"),
        pytest.param({"dataset": "a/b", "heldout_fraction": 1.0}, "heldout_fraction=1.0", id="fraction"),
        pytest.param({"dataset": "a/b", "heldout_size": 0}, "heldout_size=0", id="nothing held out"),
        pytest.param({"dataset": "a/b", "heldout_size": 1, "heldout_fraction": 0.1}, "give one", id="two sizes"),
        pytest.param({"dataset": "a/b", "limit": 1}, "limit=1", id="limit"),
        pytest.param({"dataset": "a/b", "limit": "many"}, "task_options.limit='many': expected", id="type"),
        pytest.param({"dataset": "a/b", "colum": "x"}, "which takes path, dataset, config", id="unknown option"),
        pytest.param({"dataset": "a/b", "_splits": {}}, "_splits: unknown key", id="private field"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        tasks.get("file", **options)
    assert message in str(error.value)


def test_a_hub_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[Any] = []

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((name, config, split))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = FileTask(dataset="openai/gsm8k", config="main", split="test")
    assert asked == [], "nothing is downloaded before rows are asked for"
    assert task.rows("train", 1)[0].meta["source"].startswith("openai/gsm8k:")
    assert asked == [("openai/gsm8k", "main", "test")]


def test_a_hub_data_set_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def load_dataset(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("no such data set")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(RecipeError, match="cannot be loaded: no such data set"):
        FileTask(dataset="a/b").rows("train", 1)


@pytest.mark.parametrize("key", [pytest.param("path", id="the rows"), pytest.param("pass_rates", id="their rates")])
def test_a_file_is_looked_for_in_two_places(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, recipe_folder = tmp_path / "here", tmp_path / "recipes"
    here.mkdir()
    recipe_folder.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(RecipeError, match=rf"{key}='a.jsonl'.*looked for .*here.* and .*recipes"):
        tasks.located("file", {key: "a.jsonl"}, recipe_folder)
    (recipe_folder / "a.jsonl").write_text("")
    assert tasks.located("file", {key: "a.jsonl"}, recipe_folder)[key] == str(recipe_folder / "a.jsonl")
    (here / "a.jsonl").write_text("")
    assert tasks.located("file", {key: "a.jsonl"}, recipe_folder)[key] == str(here / "a.jsonl")
    absolute = {key: str(recipe_folder / "a.jsonl")}
    assert tasks.located("file", absolute, here) == absolute
    assert tasks.located("countdown", {key: "a.jsonl"}, here) == {key: "a.jsonl"}


def test_rows_bring_what_their_verifier_needs(tmp_path: Path) -> None:
    rows: list[Any] = [
        {
            "question": f"Pick {n}",
            "answer": "B",
            "extra": {"choices": ["one", "two"]} if n % 2 else '{"choices": ["a"]}',
        }
        for n in range(10)
    ]
    task = FileTask(path=str(jsonl(tmp_path / "data.jsonl", rows)), verifier="choice", meta_column="extra")
    found = all_rows(task)
    assert {json.dumps(row.meta["choices"]) for row in found} == {'["one", "two"]', '["a"]'}
    assert all(row.meta["source"].startswith("data.jsonl:") for row in found)


def test_rows_with_tests_need_no_answer(tmp_path: Path) -> None:
    tests = {"tests": {"type": "assert", "code": ["assert f(1) == 2"]}}
    rows: list[Any] = [{"question": f"Write f, version {n}", "meta": tests} for n in range(5)]
    rows += [{"question": "no tests", "meta": text} for text in ("[1]", "{", None, "[" * 100_000)]
    path = str(jsonl(tmp_path / "data.jsonl", rows))
    task = FileTask(path=path, verifier="code", answer_column=None, meta_column="meta")
    assert {row.gold for row in all_rows(task)} == {""}
    assert [bad.partition(": ")[2] for bad in task.bad_rows] == ["no JSON object in 'meta'"] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verifier": "maths"}, "verifier='maths': unknown, known are choice, code"),
        ({"answer_column": None}, "null needs a meta_column"),
        ({"answer_column": None, "meta_column": "m", "answer_pattern": "(a)"}, "no answer_column to search"),
        ({"meta_column": "metta"}, "meta_column='metta': data.jsonl has no such column"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_wrong_verifier_options_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = str(jsonl(tmp_path / "data.jsonl", ROWS))
    with pytest.raises(RecipeError, match=message):
        FileTask(path=path, **options).rows("train", 1)


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " What is 6 * 7? "}]
LAYOUTS = [
    pytest.param(
        {"data_source": "dapo", "prompt": MESSAGES, "reward_model": {"ground_truth": "42", "style": "rule"}},
        {}, ("What is 6 * 7?", "42", {}, "math"),
        "answer_column=reward_model.ground_truth, question_column=prompt, without",
        id="verl and DAPO",
    ),
    pytest.param(
        {"prompt": MESSAGES[1:], "reward_model": {"ground_truth": {"target": 22, "numbers": [3, 5, 7]}}},
        {}, ("What is 6 * 7?", "22", {"numbers": [3, 5, 7]}, "countdown"), "verifier countdown", id="TinyZero",
    ),
    pytest.param(
        {"nums": [3, 5, 7], "target": 22}, {}, (COUNTDOWN, "22", {"numbers": [3, 5, 7]}, "countdown"),
        "numbers_column=nums; verifier countdown", id="Countdown",
    ),
    pytest.param(
        {"nums": ["3", "5", "7"], "target": "22"}, {}, (COUNTDOWN, "22", {"numbers": [3, 5, 7]}, "countdown"),
        "numbers_column=nums", id="Countdown in texts",
    ),
    pytest.param(
        {"nums": "[ 3 5  7]", "target": 22.0}, {}, (COUNTDOWN, "22", {"numbers": [3, 5, 7]}, "countdown"),
        "numbers_column=nums", id="numbers in one text",
    ),
    pytest.param(
        {"given": "3, 5, 7", "target": 22}, {"numbers_column": "given"},
        (COUNTDOWN, "22", {"numbers": [3, 5, 7]}, "countdown"), "", id="numbers by column",
    ),
    pytest.param(
        {"problem": "a?", "solution": "long", "answer": 4}, {}, ("a?", "4", {}, "math"),
        "answer_column=answer, question_column=problem", id="MATH-500",
    ),
    pytest.param({"question": "a?", "answer": ["42"]}, {}, ("a?", "42", {}, "math"), "", id="gold in a list"),
    pytest.param({"question": "a?", "answer": '["42"]'}, {}, ("a?", "42", {}, "math"), "", id="the list as text"),
    pytest.param({"question": "a?", "answer": "[42]"}, {}, ("a?", "[42]", {}, "math"), "", id="an interval stays"),
    pytest.param(
        {"q": {"text": "a?"}, "extra": {"gold": {"value": 7}}},
        {"question_column": "q.text", "answer_column": "extra.gold.value"}, ("a?", "7", {}, "math"), "", id="nested",
    ),
    pytest.param(
        {"q.text": "a?", "answer": 1}, {"question_column": "q.text"}, ("a?", "1", {}, "math"), "", id="a dot in a name",
    ),
    pytest.param(
        {"q": "a?", "answer": 1, "nums": [1, 2]}, {"question_column": "q", "verifier": "exact"},
        ("a?", "1", {}, "exact"), "", id="what is given is not guessed at",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("record", "options", "expected", "said"), LAYOUTS)
def test_layouts_of_others(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    record: dict[str, Any],
    options: dict[str, Any],
    expected: tuple[str, str, dict[str, Any], str],
    said: str,
) -> None:
    task = FileTask(path=str(jsonl(tmp_path / "a.jsonl", [record, {**record, "more": 1}])), heldout_size=1, **options)
    row = task.every_row()[0]
    meta = {key: value for key, value in row.meta.items() if key not in ("source", "final_value")}
    assert (row.question, row.gold, meta, task.verifier) == expected
    assert row.columns == record
    assert ("recognised" in caplog.text) is bool(said)
    assert said in caplog.text


def test_rewards_are_given_the_datas_own_columns() -> None:
    found = [
        {"answer": "#### 4", "level": 3, "id": 1, "prompt": "theirs", "images": ["a.png"], "trainer_state": 0},
        {"answer": "#### 5", "level": "four", "nested": {"a": [1]}},
    ]
    rows = [tasks.Row(f"a:{i}", f"q{i}", "4", {}, columns) for i, columns in enumerate(found)]
    first, second = dataset_rows(rows, tasks.get("countdown"), prompts.get("none"))
    assert (first["answer"], first["level"], first["id"], first["prompt"]) == ("#### 4", "3", 1, "q0")
    assert (second["level"], second["id"], second["nested"]) == ("four", None, {"a": [1]})
    assert not {"images", "trainer_state"} & first.keys()
    datasets = pytest.importorskip("datasets")
    assert datasets.Dataset.from_list([first, second])[1]["level"] == "four"


@pytest.mark.parametrize(
    ("answers", "options", "asked"),
    [
        pytest.param(["61", "1,200", "-3.5"], {}, True, id="word problems"),
        pytest.param(["61", r"\sqrt{2}"], {}, False, id="one gold is a formula"),
        pytest.param(["61", "7"], {"final_value": False}, False, id="switched off"),
        pytest.param(["61", r"\sqrt{2}"], {"final_value": True}, True, id="switched on"),
        pytest.param(["61", "7"], {"verifier": "exact"}, False, id="another verifier"),
    ],
)
def test_numbers_must_be_worked_out_where_all_answers_are_numbers(
    tmp_path: Path, answers: list[str], options: dict[str, Any], asked: bool
) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"{a}?", "answer": a}) for a in answers))
    found = FileTask(path=str(path), **options).every_row()
    assert [row.meta.get("final_value", False) for row in found] == [asked] * len(answers)
