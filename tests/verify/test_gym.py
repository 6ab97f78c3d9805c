"""The gym verifier: reasoning-gym's scorers, disarmed, and unusable rows, by a fake module and by the real one."""

import ast
import contextlib
import json
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.verify import gym, gym_scorer


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
