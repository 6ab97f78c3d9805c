"""The gym verifier: reasoning-gym's scorers, disarmed, and unusable rows, by a fake module and by the real one."""

import ast
import contextlib
import json
import random
import re
import subprocess
import sys
import types
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.verify import gym, gym_scorer
from r1rl.verify.verdict import Verdict


def fake_scorer(answer, entry):
    """What the library's scorers do, the bad parts included."""
    marks = {"partial": 0.5, "more": 1.5, "none": float("nan")}
    if answer in marks:
        return marks[answer]
    if answer == "stumble":
        raise KeyError("metadata")
    if answer == "exhaust":
        raise MemoryError
    if entry["metadata"].get("tuple") == [1]:
        return 0.05
    return 1.0 if answer == entry["answer"] or entry["metadata"].get("lax") else 0.01


@pytest.fixture
def fake_gym(monkeypatch):
    """A module with reasoning-gym's documented `get_score_answer_fn`."""

    def get_score_answer_fn(name):
        if name != "fake":
            raise ValueError(f"Dataset '{name}' not registered")
        return fake_scorer

    module = types.ModuleType("reasoning_gym")
    module.get_score_answer_fn = get_score_answer_fn
    monkeypatch.setitem(sys.modules, "reasoning_gym", module)
    gym_scorer._scorer.cache_clear()
    gym_scorer._read_row.cache_clear()
    yield module
    gym_scorer._scorer.cache_clear()
    gym_scorer._read_row.cache_clear()


def row(dataset="fake", **entry):
    return json.dumps({"dataset": dataset, "entry": {"answer": "22", "metadata": {}} | entry})


@pytest.mark.parametrize(
    ("answer", "gold", "entry", "status", "reason"),
    [
        pytest.param("22", "22", {}, "correct", "", id="full mark"),
        pytest.param("23", "22", {}, "wrong", "the scorer's mark is 0.01, not 1", id="the mark for any text"),
        pytest.param("partial", "22", {}, "wrong", "the scorer's mark is 0.5, not 1", id="a partial mark"),
        pytest.param("more", "22", {}, "correct", "", id="more than the full mark"),
        pytest.param("none", "22", {}, "wrong", "the scorer's mark is 0, not 1", id="not a number"),
        pytest.param("stumble", "22", {}, "unparseable", "the scorer raised KeyError", id="the scorer raises"),
        pytest.param("", "22", {}, "unparseable", "no answer", id="no answer"),
        pytest.param("22", "22", {"answer": "partial"}, "bad_gold", "gold: its own mark is 0.5", id="gold below 1"),
        pytest.param("", "22", {"answer": "partial"}, "bad_gold", "gold: its own mark is 0.5", id="for every sibling"),
        pytest.param(
            "22", "22", {"answer": "stumble"}, "bad_gold", "gold: the scorer raised KeyError on it", id="gold raises"
        ),
        pytest.param("22", "22", {"answer": None, "metadata": {}}, "wrong", None, id="no reference given"),
        pytest.param(
            "22", "22", {"answer": None, "metadata": {"lax": True}}, "bad_gold",
            "gold: none is given, and the scorer pays nonsense", id="no reference, and nonsense is paid",
        ),
        pytest.param("22", "22", {"metadata": {"lax": True}}, "correct", "", id="lax scorer, the reference"),
        pytest.param("23", "22", {"metadata": {"lax": True}}, "wrong", None, id="lax scorer, anything else"),
        pytest.param("22", "22", {"metadata": {"tuple": [1]}}, "correct", "", id="metadata that must be tuples"),
    ],
)  # fmt: skip
def test_marks_and_rows(fake_gym, answer, gold, entry, status, reason):
    verdict = gym_scorer.score(answer, gold, row(**entry))
    assert verdict.status == status
    assert reason is None or verdict.reason == reason


@pytest.mark.parametrize(
    ("dataset", "gold", "answer", "objection"),
    [
        pytest.param("", "3.05e-05", "0", "too far", id="an absolute tolerance pays 0"),
        pytest.param("", "3.05e-05", "1/32768", "", id="the same as a fraction"),
        pytest.param("", "0.171875", "0.1", "too far", id="a prefix of the digits"),
        pytest.param("", "5", "-5", "too far", id="the other sign"),
        pytest.param("", "100", "101", "", id="an error of 1 %"),
        pytest.param("", "100", "101.1", "too far", id="of more"),
        pytest.param("", "0", "0.0", "", id="zero"),
        pytest.param("", "0", "0.001", "too far", id="not zero"),
        pytest.param("", "5", "nan", "no finite number", id="nan"),
        pytest.param("", "5", " ( N a N ) ", "no finite number", id="nan as the scorers read it"),
        pytest.param("", "5", "1e999", "no finite number", id="too large a number"),
        pytest.param("", "5", "-Infinity", "no finite number", id="infinity"),
        pytest.param("", "3.0 - 2.0i", "nani", "no finite number", id="nan times i"),
        pytest.param("", "3.0 - 2.0i", "(3-2i)", "", id="a complex number in brackets"),
        pytest.param("", "3.0 - 2.0i", "3+2i", "too far", id="its conjugate"),
        pytest.param("", "1234", "1,234.0", "", id="commas"),
        pytest.param("", "5", "the answer is 5", "", id="prose is the scorer's to read"),
        pytest.param("", "5", "1/0", "", id="so is what has no value"),
        pytest.param("", "['-1.5', '20']", "[NaN, NaN]", "no finite number", id="a list of nan"),
        pytest.param("", "['-1.5', '20']", "[-1, 20]", "too far", id="a list, one number off"),
        pytest.param("", "['-1.5', '20']", "[20, -1.50]", "", id="the order is the scorer's to judge"),
        pytest.param("", "['-1.5', '20']", "[" * 1500, "", id="nested too deep to read"),
        pytest.param("", "nan", "nan", "", id="a word that reads as a number"),
        pytest.param("", "1 0\n0 1", "0 1\n1 0", "", id="a grid is no number"),
        pytest.param("", "67 days", "67 days, 10:32", "more than the row's number", id="more after the number"),
        pytest.param("", "67 days", "67", "", id="the number alone"),
        pytest.param("", None, "0", "", id="several answers are right"),
        pytest.param("puzzle24", "", "2*(5+1+6)", "", id="24"),
        pytest.param("puzzle24", "", "-(1-5)*6*2/2", "not the row's numbers", id="24, a number twice"),
        pytest.param("puzzle24", "", "4*6*1*1", "not the row's numbers", id="24, from others"),
        pytest.param("puzzle24", "", "6*5-2-1", "not exactly 24", id="not 24"),
        pytest.param("countdown", "", "6*5-2-1", "", id="countdown: 27"),
        pytest.param("countdown", "", "-1-2+6*5", "", id="countdown: a sign in front"),
        pytest.param("countdown", "", "6*5-2-1+x/x-y/y", "more than + - * /", id="countdown: names that cancel out"),
        pytest.param("countdown", "", "6*5-2**1-1", "more than + - * /", id="countdown: a power"),
        pytest.param("countdown", "", "6*5-2.0-1", "not the row's numbers", id="countdown: a decimal"),
    ],
)  # fmt: skip
def test_what_a_scorer_pays_is_looked_at_again(dataset, gold, answer, objection):
    metadata = {"numbers": [5, 1, 6, 2]} | ({"target": 27} if dataset == "countdown" else {})
    found = gym_scorer._objection(dataset, answer, {"answer": gold, "metadata": metadata})
    assert found.startswith(objection)
    assert bool(found) == bool(objection)


@pytest.mark.parametrize(
    ("pays", "count", "reason"),
    [
        pytest.param(lambda answer, gold: True, 6, "'some' pays 5 of 5 answers of other rows", id="any answer"),
        pytest.param(lambda answer, gold: True, 3, "", id="too few rows to tell"),
        pytest.param(lambda answer, gold: abs(int(answer) - int(gold)) % 3 == 0, 6, "", id="its own answer"),
        pytest.param(lambda answer, gold: answer == gold or answer in "24", 6, "", id="fewer than half of the others"),
    ],
)
def test_a_scorer_that_pays_the_answers_of_other_rows_is_named(monkeypatch, pays, count, reason):
    def verify_many(items):
        return [Verdict("correct" if pays(answer, gold) else "wrong", None, "") for answer, gold, _ in items]

    monkeypatch.setattr(gym, "verify_many", verify_many)
    verdicts = gym.check_golds([(str(number), {"dataset": "some", "entry": {}}) for number in range(count)])
    assert {verdict.status for verdict in verdicts} == {"bad_gold" if reason else "correct"}
    assert all(reason in verdict.reason for verdict in verdicts)


def test_an_entry_without_an_answer_takes_the_gold(fake_gym):
    assert gym_scorer.score("7", "7", json.dumps({"dataset": "fake", "entry": {"metadata": {}}})).status == "correct"


def test_an_unknown_data_set(fake_gym):
    verdict = gym_scorer.score("22", "22", row("nothing"))
    assert (verdict.status, verdict.reason) == ("bad_gold", "reasoning-gym has no data set 'nothing'")


def test_a_worker_out_of_memory_is_for_the_pool_to_judge(fake_gym):
    with pytest.raises(MemoryError):
        gym_scorer.score("exhaust", "22", row())


def test_eval_and_exec_are_taken_away(monkeypatch):
    names = ("reasoning_gym.x.loose", "reasoning_gym.arithmetic.bitwise_arithmetic", "other.module")
    modules = {name: types.ModuleType(name) for name in names}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    gym_scorer.disarm()
    loose, own, other = modules.values()
    assert loose.eval is ast.literal_eval
    with pytest.raises(ValueError, match="nothing is executed"):
        loose.exec("1")
    assert not hasattr(own, "eval")  # evaluates its own problem
    assert not hasattr(other, "eval")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("3*5+7", "22", id="arithmetic"),
        pytest.param("-(1/2)", "-1/2", id="exact fractions"),
        pytest.param("x**2 + 2*x", "x**2 + 2*x", id="polynomial"),
        pytest.param("sin(x)*exp(2)", "exp(2)*sin(x)", id="functions"),
        pytest.param("pi", "pi", id="constant"),
        pytest.param("0.5", "0.500000000000000", id="decimal"),
    ],
)
def test_expressions_are_read_without_evaluation(text, value):
    assert str(gym_scorer.read_expression(text)) == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("__import__('os').system('true')", id="import"),
        pytest.param("().__class__", id="attribute"),
        pytest.param("eval('1')", id="call of another function"),
        pytest.param("x.subs(1, 2)", id="method"),
        pytest.param("lambda: 1", id="lambda"),
        pytest.param("[1 for x in y]", id="comprehension"),
        pytest.param("'a'", id="string"),
        pytest.param("f'{x}'", id="f-string"),
        pytest.param("x[0]", id="index"),
        pytest.param("x if y else z", id="condition"),
        pytest.param("x := 1", id="assignment"),
        pytest.param("sin(x, evaluate=False)", id="keyword"),
        pytest.param("1j", id="complex"),
        pytest.param("True", id="bool"),
        pytest.param("9**9**9", id="tower"),
        pytest.param("2**1000", id="exponent"),
        pytest.param("1" * 51, id="digits"),
        pytest.param("x" * 21, id="long name"),
        pytest.param("__x", id="underscores"),
        pytest.param("1+" * 501 + "1", id="length"),
        pytest.param("1e999", id="infinite"),
        pytest.param("", id="empty"),
        pytest.param("(" * 300, id="open brackets"),
    ],
)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises((ValueError, SyntaxError, MemoryError)):
        gym_scorer.read_expression(text)


@given(st.text(max_size=40) | st.text(alphabet="0123456789x+-*/(). ", max_size=20))
def test_no_text_does_more_than_raise(text):
    with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        assert gym_scorer.read_expression(text) is not None


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        pytest.param({}, "meta needs 'dataset', a name, and 'entry', a mapping", id="empty"),
        pytest.param(None, "meta needs 'dataset', a name, and 'entry', a mapping", id="none"),
        pytest.param({"dataset": "x"}, "meta needs 'dataset', a name, and 'entry', a mapping", id="no entry"),
        pytest.param({"dataset": "x", "entry": "y"}, "meta needs 'dataset', a name, and 'entry', a mapping", id="text"),
        pytest.param({"dataset": "x", "entry": {"a": {1}}}, "meta 'entry' holds something that JSON cannot", id="set"),
        pytest.param(
            {"dataset": "x", "entry": {"a": "b" * 20_000}}, "the row is too long: 20037 characters of JSON and gold",
            id="too long",
        ),
    ],
)  # fmt: skip
def test_unusable_meta_needs_no_process(monkeypatch, meta, reason):
    monkeypatch.setattr(gym.importlib.util, "find_spec", lambda name: object())
    verdict = gym.verify("1", "1", meta)
    assert (verdict.status, verdict.reason) == ("bad_gold", reason)


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(gym.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"reasoning-gym; try: pip install 'r1rl\[gym\]'"):
        gym.verify("1", "1", {})


ATTACK = "__import__('pathlib').Path({!r}).touch()"


@pytest.mark.processes
def test_the_real_scorers(tmp_path):
    """All data sets: their own answer is right, junk is not, and code in an answer does not run."""
    library = pytest.importorskip("reasoning_gym")
    from reasoning_gym.factory import DATASETS

    trace = tmp_path / "ran"
    items, owners = [], []
    for name in sorted(DATASETS):
        if name == "composite":  # needs data sets named
            continue
        entry = json.loads(json.dumps(library.create_dataset(name, seed=7, size=1)[0]))
        if not isinstance(entry["answer"], str):
            continue
        for answer in (entry["answer"], "junk", ATTACK.format(str(trace)), "(" * 1000, "9**9**9", "x" * 3000):
            items.append((answer, entry["answer"], {"dataset": name, "entry": entry}))
            owners.append((name, answer == entry["answer"]))
    assert len({name for name, _ in owners}) > 90
    verdicts = gym.verify_many(items)
    wrong = [
        (name, own, verdict)
        for (name, own), verdict in zip(owners, verdicts, strict=True)
        if own != (verdict.status == "correct")
    ]
    assert wrong == []
    assert not trace.exists()


CONSTANTS = ("nan", "0", "1", "-1", "True", "[]", "inf", "word", "4*6*1*1", "None")
IN_SHAPE = ("nan", "NaN", "0", "1e999")
"""Constants in the place of every number of the row's own answer."""
GENERATORS = 60
# another row's answer may be right: the scorers try the moves, or look it up among the row's solutions
SEVERAL_ARE_RIGHT = {"jugs", "n_queens"}


def plainly_right(name, answer, entry):
    """Whether an answer is right for a row, by its text, its number or the row's data, and not by the scorer."""

    def number(text):
        try:
            return Fraction(text.replace(",", ""))
        except (ValueError, ZeroDivisionError):
            return None

    gold, metadata = entry["answer"], entry["metadata"]
    if "".join(answer.lower().split()) == "".join(gold.lower().split()):
        return True
    if name == "puzzle24":
        return Counter(re.findall("[0-9]+", answer)) == Counter(map(str, metadata["numbers"]))
    return number(gold) is not None and number(gold) == number(answer)


@pytest.mark.processes
def test_a_row_is_judged_by_its_own_data():
    """Own answers of 60 generators are paid; other rows' answers and constants are not, unless plainly right."""
    library = pytest.importorskip("reasoning_gym")
    from reasoning_gym.factory import DATASETS

    unfit = {"composite", "gsm_symbolic", *SEVERAL_ARE_RIGHT}
    names = [name for name in sorted(DATASETS) if name not in unfit]
    random.Random(0).shuffle(names)
    items, owners, used = [], [], 0
    for name in ["coin_flip", "complex_arithmetic", "number_sorting", "puzzle24", "time_intervals", *names]:
        made = library.create_dataset(name, seed=5, size=21)
        entries = json.loads(json.dumps([made[index] for index in range(21)]))
        if used == GENERATORS or not all(isinstance(entry["answer"], str) for entry in entries):
            continue
        used += 1
        entry = entries[0]
        shaped = [re.sub(r"-?[0-9]+(\.[0-9]+)?", constant, entry["answer"]) for constant in IN_SHAPE]
        for answer in dict.fromkeys([*(other["answer"] for other in entries), *CONSTANTS, *shaped]):
            items.append((answer, entry["answer"], {"dataset": name, "entry": entry}))
            owners.append((name, answer, plainly_right(name, answer, entry)))
    assert used == GENERATORS
    verdicts = gym.verify_many(items)
    assert [
        (name, answer[:80], items[index][1][:80], verdict)
        for index, ((name, answer, right), verdict) in enumerate(zip(owners, verdicts, strict=True))
        if (verdict.status == "correct") != right
    ] == []


@pytest.mark.processes
def test_cold_scorers_on_a_loaded_machine_judge_every_item():
    library = pytest.importorskip("reasoning_gym")
    made = library.create_dataset("arc_agi", seed=5, size=200)
    entries = json.loads(json.dumps([made[index] for index in range(200)]))
    entries = [entry for entry in entries if len(json.dumps(entry)) < 17_000 and len(entry["answer"]) < gym.MAX_CHARS]
    del entries[64:]
    assert len(entries) == 64
    gym._pool.close()
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        verdicts = gym.verify_many(
            [(entry["answer"], entry["answer"], {"dataset": "arc_agi", "entry": entry}) for entry in entries]
        )
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    assert {(verdict.status, verdict.reason) for verdict in verdicts} == {("correct", "")}
