"""The gold preflight: which golds pass for each verifier, what is cached, and what happens to the rows that fail."""

import itertools
import json
import logging
import shutil
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl import verify
from r1rl.ground.errors import RecipeError
from r1rl.tasks import Row, gold
from r1rl.tasks.countdown import Countdown
from r1rl.verify import code
from r1rl.verify.countdown import solvable
from r1rl.verify.verdict import Verdict


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gold"


def rows(*golds, meta=None, name="p"):
    return [Row(f"{name}:{index}", "?", text, meta or {}) for index, text in enumerate(golds)]


@pytest.mark.parametrize(
    ("verifier", "text", "meta", "reason"),
    [
        pytest.param("math", "12", {}, "", id="math: number"),
        pytest.param("math", r"\left[ \frac{\pi^2}{8}, 5 \right]", {}, "", id="math: interval"),
        pytest.param("math", r"\text{Evelyn}", {}, "", id="math: text"),
        pytest.param("math", "It is 3 more than 9", {}, "gold: the word", id="math: prose"),
        pytest.param("math", r"\frac{1}{0}", {}, "gold: division by zero", id="math: division by zero"),
        pytest.param("math", "1 2 x", {}, "gold: several numbers", id="math: two numbers"),
        pytest.param("countdown", "22", {"numbers": [3, 5, 7]}, "", id="countdown: 3*5+7"),
        pytest.param("countdown", "22", {"numbers": [3, 5]}, "22 cannot be made from 3, 5", id="countdown: unsolvable"),
        pytest.param("countdown", "22", {}, "no list 'numbers'", id="countdown: no numbers"),
        pytest.param("countdown", "3*5+7", {"numbers": [3, 5, 7]}, "not a number", id="countdown: an expression"),
        pytest.param("countdown", "1e9", {"numbers": [1] * 7}, "not a number", id="countdown: form beyond the search"),
        pytest.param("countdown", "99", {"numbers": [1] * 7}, "", id="countdown: too many numbers to search"),
        pytest.param("exact", "Paris", {}, "", id="exact: text"),
        pytest.param("exact", " ", {}, "gold: need a string", id="exact: blank"),
        pytest.param("choice", "B", {}, "", id="choice: letter"),
        pytest.param("choice", "Rome", {"choices": ["Paris", "Rome"]}, "", id="choice: an option's text"),
        pytest.param("choice", "C", {"choices": ["Paris", "Rome"]}, "gold: neither", id="choice: no such option"),
    ],
)
def test_what_passes(verifier, text, meta, reason):
    found = gold.check(verifier, [Row("p", "?", text, meta)])[0]
    assert bool(found) == bool(reason)
    assert reason in found


def test_every_row_of_our_own_task_passes():
    task = Countdown(numbers=3)
    assert gold.check(task.verifier, task.rows("train", 200)) == [""] * 200


def reachable(values):
    """Oracle: every value of every expression over all the numbers, by plain recursion."""
    if len(values) == 1:
        return {values[0]}
    found = set()
    for i, j in itertools.permutations(range(len(values)), 2):
        rest = [value for k, value in enumerate(values) if k not in (i, j)]
        a, b = values[i], values[j]
        for value in [a + b, a - b, a * b, *([a / b] if b else [])]:
            found |= reachable([*rest, value])
    return found


@pytest.mark.parametrize(
    "numbers",
    [[3], [0], [2, 2], [0, 5], [0, 0], [1, 2, 3], [0, 0, 4], [7, 7, 7], [0, 1, 9], [3, 3, 8, 8], [0, 2, 5, 6]],
    ids=str,
)
def test_solvable_agrees_with_the_oracle(numbers):
    possible = reachable([Fraction(number) for number in numbers])
    candidates = {Fraction(n, d) for n in range(-30, 60) for d in (1, 2, 3)} | set(itertools.islice(possible, 500))
    assert {target for target in candidates if solvable(numbers, target)} == candidates & possible


@settings(deadline=None)  # the first example starts a process
@given(st.lists(st.sampled_from(["good", "bad", "ugly"]), max_size=30))
def test_reasons_keep_the_order_of_the_rows(words):
    golds = {"good": "12", "bad": "12?", "ugly": "1 2 x"}
    found = gold.check("math", rows(*(golds[word] for word in words)))
    expected = {"good": "", "bad": "gold: unexpected", "ugly": "gold: several"}
    assert all(
        reason.startswith(expected[word]) and bool(reason) == (word != "good")
        for word, reason in zip(words, found, strict=True)
    )


class Counting:
    """A verifier's module in which golds other than "good" are wrong; counts what it is asked."""

    def __init__(self, status="wrong"):
        self.asked, self.status, self.unable = [], status, False

    def require(self):
        if self.unable:
            raise RuntimeError("no sandbox: install bubblewrap")

    def verify_many(self, items):
        self.asked += items
        return [Verdict("correct", a, "") if a == "good" else Verdict(self.status, a, "is bad") for a, _, _ in items]


@pytest.fixture
def counting(monkeypatch):
    module = Counting()
    monkeypatch.setattr(verify, "module", lambda name: module)
    monkeypatch.setattr(gold, "CACHE_FROM_SECONDS", 0)
    return module


def test_equal_rows_are_judged_once(counting):
    assert gold.check("x", rows("good", "bad", "good", "bad")) == ["", "judged wrong against itself: is bad"] * 2
    assert [answer for answer, _, _ in counting.asked] == ["good", "bad"]


@pytest.mark.parametrize(
    ("verifier", "again", "judged"),
    [
        pytest.param("x", rows("good", "bad", name="other"), False, id="the same golds under other names"),
        pytest.param("y", rows("good", "bad"), True, id="another verifier"),
        pytest.param("x", rows("good", "worse"), True, id="another gold"),
        pytest.param("x", rows("bad", "good"), True, id="another order"),
        pytest.param("x", rows("good", "bad", meta={"numbers": [1]}), True, id="another meta"),
    ],
)
def test_the_cache_is_by_content(counting, verifier, again, judged):
    first = gold.check("x", rows("good", "bad"))
    counting.asked.clear()
    second = gold.check(verifier, again)
    assert bool(counting.asked) == judged
    assert sorted(first) == sorted(second)


def test_the_cache_ends_with_the_source(counting, monkeypatch, tmp_path):
    gold.check("x", rows("good"))
    (tmp_path / "math.py").write_text("")
    monkeypatch.setattr(verify, "__file__", str(tmp_path / "__init__.py"))
    counting.asked.clear()
    gold.check("x", rows("good"))
    assert counting.asked


@pytest.mark.parametrize("content", ["", "[]", "{", '{"reasons": [""]}', '{"reasons": ["", 7]}'])
def test_a_broken_cache_file_is_judged_again(counting, cache, content):
    gold.check("x", rows("good", "bad"))
    (file,) = cache.iterdir()
    file.write_text(content)
    assert gold.check("x", rows("good", "bad")) == ["", "judged wrong against itself: is bad"]


def test_a_timeout_is_not_remembered(counting, cache):
    counting.status = "timeout"
    assert gold.check("x", rows("good", "bad")) == ["", "judged timeout against itself: is bad"]
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_no_run(counting, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "file"))
    assert gold.check("x", rows("good")) == [""]


def test_a_quick_check_leaves_no_file(cache):
    gold.check("exact", rows("good"))
    assert not cache.exists()


def test_a_missing_package_is_the_users_to_install(counting, monkeypatch):
    def missing(items):
        raise ImportError("needs reasoning-gym; try: pip install 'r1rl[gym]'")

    monkeypatch.setattr(counting, "verify_many", missing)
    with pytest.raises(RecipeError, match="verifier='gym': needs reasoning-gym"):
        gold.check("gym", rows("good"))


def test_a_verifier_that_cannot_work_here_says_so_even_when_the_golds_are_known(counting):
    gold.check("code", rows("good"))
    counting.unable = True
    with pytest.raises(RecipeError, match="verifier='code': no sandbox: install bubblewrap"):
        gold.check("code", rows("good"))


needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
STDIN = {"tests": {"type": "stdin", "cases": [{"input": "2\n", "output": "4"}]}}


@pytest.mark.parametrize(
    ("text", "meta", "reason"),
    [
        pytest.param("", STDIN, "", id="tests alone"),
        pytest.param("", {}, "meta: 'tests' needs type", id="no tests"),
        pytest.param("", {"tests": {"type": "stdin", "cases": []}}, "needs a list that is not empty", id="empty tests"),
        pytest.param("print(2 * int(input()))", STDIN, "", id="reference solution", marks=needs_bwrap),
        pytest.param("print(5)", STDIN, "judged wrong against itself: 0 of 1", id="wrong reference", marks=needs_bwrap),
    ],
)  # fmt: skip
def test_code_rows_need_usable_tests_and_a_reference_that_passes(monkeypatch, text, meta, reason):
    if not text:  # the form is read without running anything
        monkeypatch.setattr(code, "verify", None)
    found = gold._why(code.check_gold(text, meta))
    assert bool(found) == bool(reason)
    assert reason in found


def sort_out(train, heldout, path, **changes):
    """`sort_out` of golds "" (usable) or a reason."""
    settings = {"policy": "drop", "prompts_per_step": 2, "path": path / gold.FILE_NAME} | changes
    return gold.sort_out(
        rows(*map(str, range(len(train)))), rows(*"abcdefg"[: len(heldout)], name="h"), [*train, *heldout], **settings
    )


def test_bad_rows_are_listed_and_left_out(tmp_path, caplog):
    train, heldout = sort_out(["", "gold: 'a'", "", "gold: 'b'"], ["other", ""], tmp_path)
    assert [row.gold for row in train] == ["0", "2"]
    assert [row.gold for row in heldout] == ["b"]
    listed = [json.loads(line) for line in (tmp_path / "bad_gold.jsonl").read_text().splitlines()]
    assert listed == [
        {"split": "train", "prompt_id": "p:1", "gold": "1", "reason": "gold: 'a'"},
        {"split": "train", "prompt_id": "p:3", "gold": "3", "reason": "gold: 'b'"},
        {"split": "heldout", "prompt_id": "h:0", "gold": "a", "reason": "other"},
    ]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "3 of 6 gold answers are unusable, most often (2): gold: 'a'" in record.getMessage()


def test_nothing_is_said_when_all_pass_and_an_old_list_goes(tmp_path, caplog):
    (tmp_path / "bad_gold.jsonl").write_text("old")
    train, heldout = sort_out(["", ""], [""], tmp_path)
    assert (len(train), len(heldout)) == (2, 1)
    assert not (tmp_path / "bad_gold.jsonl").exists()
    assert not caplog.records


def test_only_the_process_that_is_asked_to_writes(tmp_path):
    assert len(sort_out(["", "", "x"], [""], tmp_path, write=False)[0]) == 2
    assert not (tmp_path / "bad_gold.jsonl").exists()


@pytest.mark.parametrize(
    ("train", "heldout", "changes", "message"),
    [
        pytest.param(["x", "y"], ["y"], {}, r"task: all 3 of 3 gold answers .*\(2\): y;", id="all bad"),
        pytest.param(["", "", "x"], [""], {"policy": "stop"}, "bad_gold='stop': 1 of 4 .*bad_gold: drop", id="stop"),
        pytest.param(["", "x"], [""], {}, "prompts_per_step=2: only 1 of 2 training problems", id="less than a step"),
        pytest.param(["", "", ""], ["x"], {}, "heldout_size=1: no held-out problem", id="nothing held out"),
    ],
)
def test_too_little_left_stops_and_leaves_the_list(tmp_path, train, heldout, changes, message):
    with pytest.raises(RecipeError, match=message):
        sort_out(train, heldout, tmp_path, **changes)
    assert len((tmp_path / "bad_gold.jsonl").read_text().splitlines()) == sum(map(bool, [*train, *heldout]))


@pytest.mark.parametrize("text", ["\ud800", "\x00\n", "zwölf", '"\\'], ids=ascii)
def test_any_gold_can_be_listed(tmp_path, text):
    gold.sort_out(rows("1", "2", text), rows("3"), ["", "", "bad", ""], policy="drop", prompts_per_step=1,
                  path=tmp_path / "list")  # fmt: skip
    assert json.loads((tmp_path / "list").read_text(encoding="utf-8"))["gold"] == text


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        pytest.param(["a", "b", "b"], ("b", 2), id="equal"),
        pytest.param(["x", "not 'one'", "not 'two'..."], ("not 'one'", 2), id="quotations do not count"),
        pytest.param(["x", "long: 401", "long: 99"], ("long: 401", 2), id="numbers do not count"),
        pytest.param(["""not "it's" """, "not 'a' "], ("""not "it's" """, 2), id="either quotation mark"),
    ],
)
def test_the_most_common_kind_of_reason(reasons, expected):
    assert gold.most_common(reasons) == expected
