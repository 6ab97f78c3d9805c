"""The registry, and the contract that every reward in it keeps."""

import json
import math
import pickle
from typing import Any, NamedTuple

import pytest

import rewards

GOLD = {
    "countdown": ("<think>3 * 5 = 15</think>\n<answer>3*5+7</answer>", "22", {"numbers": [3, 5, 7]}),
    "math": ("<think>half of 24</think>\n<answer>12</answer>", "12.0", {"source": "file.jsonl:1"}),
}
JUNK = [
    "",
    "22",
    "<answer>",
    "<think></think><answer></answer>",
    "<answer>1</answer>" * 2,
    "\x00\ud800\u202e",
    "(" * 10_000,
    "<think>a</think><answer>no idea</answer> and more",
]


def columns(verifier, count):
    """The dataset's columns for `count` completions of one row, with more than any reward needs."""
    _, gold, meta = GOLD[verifier]
    return {
        "prompts": ["question"] * count,
        "prompt_id": ["id"] * count,
        "gold": [gold] * count,
        "meta": [json.dumps(meta)] * count,
        "verifier": [verifier] * count,
        "prefill": [""] * count,
        "completion_ids": [[1, 2, 3], [4] * 20, *([[5] * 9] * count)][:count],
        "task": [verifier] * count,
        "template": ["r1-zero"] * count,
        "trainer_state": None,
        "log_extra": None,
    }


class Case(NamedTuple):
    """What the contract cannot know of a reward by itself. One that needs none of it has no line in `CASES`.

    `least`, `most`: what the gold completion earns at least, and junk at most. `package`: an optional one that it
    needs. `other_gold`: the rows here have no gold for it, so all values are None.
    """

    options: dict[str, Any] = {}  # noqa: RUF012
    least: float = -math.inf
    most: float = math.inf
    package: str = ""
    other_gold: bool = False


CASES = {
    "accuracy": Case(least=1.0, most=0.0),
    "code": Case(other_gold=True),
    "cosine": Case({"max_tokens": 20}, least=0.9, most=-0.5),
    "format": Case(least=1.0, most=0.0),
    "format-soft": Case(least=1.0, most=1.0),
    "kimi-length": Case(least=0.5, most=0.0),
    "language": Case(package="py3langid"),
    "soft-overlong": Case({"max_tokens": 20, "cache_tokens": 5}),
    "tag-count": Case(least=1.0, most=1.0),
}


@pytest.mark.parametrize("name", rewards.names())
class TestContract:
    @pytest.fixture
    def case(self, name):
        return CASES.get(name, Case())

    @pytest.fixture
    def reward(self, name, case):
        if case.package:
            pytest.importorskip(case.package)
        try:
            return rewards.get(name, **case.options)
        except RuntimeError as error:  # no sandbox on this machine
            assert case.other_gold
            pytest.skip(str(error))

    @pytest.mark.parametrize("verifier", GOLD)
    def test_gold_scores_top_and_junk_bottom(self, case, reward, verifier):
        completions = [GOLD[verifier][0], *JUNK]
        scores = reward(completions, **columns(verifier, len(completions)))
        assert len(scores) == len(completions)
        if case.other_gold:
            assert scores == [None] * len(scores)
            return
        assert all(isinstance(score, float) and math.isfinite(score) for score in scores)
        assert scores[0] >= case.least
        assert max(scores[1:]) <= case.most

    def test_no_completions_give_no_rewards(self, reward):
        assert reward([], **columns("math", 0)) == []

    def test_conversations_score_like_their_text(self, reward):
        texts = [GOLD["math"][0], *JUNK]
        chats = [[{"role": "assistant", "content": text}] for text in texts]
        expected = reward(texts, **columns("math", len(texts)))
        assert reward(chats, **columns("math", len(texts))) == expected

    def test_the_prefill_belongs_to_the_answer(self, reward):
        text = GOLD["math"][0]
        whole = reward([text], **columns("math", 1))
        rest = {**columns("math", 1), "prefill": ["<think>"]}
        assert reward([text.removeprefix("<think>")], **rest) == whole

    def test_it_survives_pickling(self, name, reward):
        again = pickle.loads(pickle.dumps(reward))
        assert again([GOLD["math"][0]], **columns("math", 1)) == reward([GOLD["math"][0]], **columns("math", 1))
        assert again.__name__ == name

    def test_it_is_named_and_described(self, name, reward):
        assert reward.__name__ == name
        assert len(rewards.describe(name)) > 20

    def test_unknown_options_are_errors(self, name, case):
        with pytest.raises(ValueError, match=rf"reward='{name}': options \[.*'speed'\] do not fit"):
            rewards.get(name, **case.options, speed=3)


def test_the_table_names_rewards_that_exist():
    assert set(CASES) <= set(rewards.names())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("acuracy", "allowed: accuracy, .*format.*did you mean 'accuracy'", id="misspelt"),
        pytest.param("zzz", "allowed: accuracy, .*format.*try 'accuracy'", id="nothing near"),
        pytest.param("", "reward='': unknown", id="empty"),
        pytest.param("os.path", "unknown; allowed: .*'package.module:function'", id="no function"),
        pytest.param("no_such_package.rules:mine", "no module 'no_such_package'.*PYTHONPATH", id="no package"),
        pytest.param("rewards.nothing:mine", "no module 'rewards.nothing'", id="no module"),
        pytest.param("my_rules:mime", "my_rules has no 'mime'; did you mean 'mine'", id="no attribute"),
        pytest.param("my_rules:LIMIT", "LIMIT is a int and cannot be called", id="not callable"),
        pytest.param("my_rules:Bare", "a Bare has no __call__", id="instance not callable"),
        pytest.param("my_rules:", "not of the form", id="no attribute name"),
        pytest.param("my rules:mine", "not of the form", id="no module name"),
        pytest.param(":mine", "not of the form", id="only an attribute"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_clear_error(name, message, my_rules):
    with pytest.raises(ValueError, match=message):
        rewards.get(name)


@pytest.fixture
def my_rules(tmp_path, monkeypatch):
    """A module of the user's own rewards."""
    (tmp_path / "my_rules.py").write_text(
        '"""Mine."""\n'
        "LIMIT = 3\n"
        "def mine(completions, *, bonus=0.0, **columns):\n"
        '    """The length of a completion.\n\n    More."""\n'
        "    return [len(completion) + bonus for completion in completions]\n"
        "class Scaled:\n"
        "    def __init__(self, factor=1.0):\n        self.factor = factor\n"
        "    def __call__(self, completions, **columns):\n"
        "        return [self.factor] * len(completions)\n"
        "class Bare:\n    pass\n"
    )
    (tmp_path / "broken_rules.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_function_of_the_users_own(my_rules):
    reward = rewards.get("my_rules:mine")
    assert reward(["ab"]) == [2]
    assert reward.__name__ == "mine"
    assert rewards.describe("my_rules:mine") == "The length of a completion."


def test_options_are_bound(my_rules):
    reward = rewards.get("my_rules:mine", bonus=0.5)
    assert reward(["ab"]) == [2.5]
    assert reward.__name__ == "mine"
    scaled = rewards.get("my_rules:Scaled", factor=2.0)
    assert scaled(["a", "b"]) == [2.0, 2.0]
    assert scaled.__name__ == "Scaled"
    for bound in (reward, scaled):
        assert pickle.loads(pickle.dumps(bound)).__name__ == bound.__name__


def test_a_module_that_lacks_a_module_of_its_own_says_so_itself(my_rules):
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        rewards.get("broken_rules:mine")
