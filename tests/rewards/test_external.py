"""Rewards from elsewhere, unchanged: TRL's, open-r1's, coroutines, factories."""

import asyncio
import pickle
import sys

import pytest

import rewards
from rewards import external

# In the manner of open-r1: message completions without annotation, a `solution` column, factories of closures.
OPEN_R1 = """
def format_reward(completions, **kwargs):
    return [1.0 if completion[0]["content"].startswith("<think>") else 0.0 for completion in completions]

def accuracy_reward(completions, solution, **kwargs):
    return [float(c[0]["content"] == s) for c, s in zip(completions, solution)]

def get_scaled_reward(factor: float = 1.0):
    def scaled_reward(completions, **kwargs):
        return [factor * len(completion[0]["content"]) for completion in completions]
    return scaled_reward
"""
MINE = """
import asyncio

async def judged(completions, *, bonus=0.0, gold=None, **columns):
    await asyncio.sleep(0)
    return [float(completion == g) + bonus for completion, g in zip(completions, gold)]

async def judged_messages(completions: list[list[dict[str, str]]], solution, **columns):
    await asyncio.sleep(0)
    return [float(c[0]["content"] == s) for c, s in zip(completions, solution)]

class Judge:
    def __init__(self, factor=1.0):
        self.factor = factor
    async def __call__(self, completions, **columns):
        return [self.factor] * len(completions)

def plain(completions, **columns):
    return [float(isinstance(completion, str)) for completion in completions]

def positional(prompts, completions):
    return [1.0] * len(completions)

def make(factor):
    def made(completions, **columns):
        return [factor] * len(completions)
    return made

def not_a_reward(text):
    return text
"""
COLUMNS = {
    "prompts": ["q", "q"],
    "gold": ["<think>a", "b"],
    "completion_ids": [[1, 2, 3], [1, 1, 1, 1]],
    "trainer_state": None,
    "log_extra": None,
    "log_metric": None,
}
TEXTS = ["<think>a", "x"]


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    (tmp_path / "open_r1").mkdir()
    (tmp_path / "open_r1" / "__init__.py").write_text("")
    (tmp_path / "open_r1" / "rewards.py").write_text(OPEN_R1)
    (tmp_path / "outside_rules.py").write_text(MINE)
    for name in ("open_r1", "open_r1.rewards", "outside_rules"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)


def called(reward):
    """As TRL 1.16 calls rewards: everything by keyword, coroutines awaited."""
    result = reward(completions=TEXTS, **COLUMNS)
    return asyncio.run(result) if external.is_async(reward) else result


@pytest.mark.parametrize(
    ("name", "options", "values", "label"),
    [
        pytest.param("open_r1.rewards:format_reward", {}, [1, 0], "format_reward", id="open-r1 reads messages"),
        pytest.param("open_r1.rewards:accuracy_reward", {}, [1, 0], "accuracy_reward", id="solution is the gold"),
        pytest.param(
            "open_r1.rewards:get_scaled_reward", {"factor": 2.0}, [16, 2], "scaled_reward", id="open-r1's factory"
        ),
        pytest.param("open_r1.rewards:get_scaled_reward", {}, [8, 1], "scaled_reward", id="factory without options"),
        pytest.param("outside_rules:plain", {}, [1, 1], "plain", id="texts stay texts"),
        pytest.param("outside_rules:plain", {"messages": True}, [0, 0], "plain", id="messages on request"),
        pytest.param("open_r1.rewards:get_scaled_reward", {"messages": True}, [8, 1], "scaled_reward", id="both"),
        pytest.param("outside_rules:make", {"factor": 3.0}, [3, 3], "made", id="a factory of one's own"),
        pytest.param("outside_rules:judged", {}, [1, 0], "judged", id="a coroutine function"),
        pytest.param("outside_rules:judged", {"bonus": 0.5}, [1.5, 0.5], "judged", id="with options bound"),
        pytest.param("outside_rules:Judge", {"factor": 2.0}, [2, 2], "Judge", id="an object with async __call__"),
        pytest.param("outside_rules:judged_messages", {}, [1, 0], "judged_messages", id="coroutine, by annotation"),
    ],
)
def test_it_is_called_as_it_was_written(name, options, values, label):
    reward = rewards.get(name, **options)
    assert called(reward) == values
    assert reward.__name__ == label
    again = pickle.loads(pickle.dumps(reward))
    assert called(again) == values
    assert again.__name__ == label


def test_coroutines_are_known_as_such_by_trl():
    trl = pytest.importorskip("trl.trainer.utils")
    for name in ("judged", "judged_messages", "Judge", "plain", "make"):
        reward = rewards.get(f"outside_rules:{name}", **({"factor": 1.0} if name == "make" else {}))
        assert trl.is_async_callable(reward) == external.is_async(reward) == (name not in ("plain", "make"))


def test_a_dataset_with_its_own_solutions_keeps_them():
    reward = rewards.get("open_r1.rewards:accuracy_reward")
    assert reward(completions=["a"], gold=["b"], solution=["a"]) == [1.0]


def test_conversations_pass_unchanged():
    chats = [[{"role": "assistant", "content": text}] for text in TEXTS]
    assert rewards.get("open_r1.rewards:format_reward")(completions=chats, **COLUMNS) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "factory"),
    [
        ("make", True),
        ("not_a_reward", True),
        ("plain", False),
        ("positional", False),
        ("judged", False),
        ("Judge", False),
    ],
)
def test_a_function_that_takes_no_completions_makes_a_reward(name, factory):
    import outside_rules

    assert external.is_factory(getattr(outside_rules, name)) == factory


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        pytest.param("outside_rules:make", {}, r"options \[\] do not fit: .*factor", id="a factory lacks its option"),
        pytest.param("outside_rules:make", {"speed": 1}, r"options \['speed'\] do not fit", id="unknown to a factory"),
        pytest.param("outside_rules:not_a_reward", {"text": "a"}, "made a str, which cannot be called", id="no reward"),
        pytest.param("accuracy", {"messages": True}, r"options \['messages'\] do not fit", id="ours read both"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(name, options, message):
    with pytest.raises(ValueError, match=message):
        rewards.get(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "values"),
    [
        pytest.param("think_format_reward", {}, [1.0, 0.0], id="format"),
        pytest.param("accuracy_reward", {}, [1.0, 0.0], id="accuracy"),
        pytest.param(
            "get_soft_overlong_punishment",
            {"max_completion_len": 4, "soft_punish_cache": 2},
            [-0.5, -1.0],
            id="overlong",
        ),
        pytest.param("get_repetition_penalty_reward", {"ngram_size": 2}, [0.0, -2 / 3], id="repetition"),
        pytest.param("get_cosine_scaled_reward", {"max_len": 4}, [0.5 + 0.25 * (1 - 0.5**0.5), -0.5], id="cosine"),
    ],
)
def test_trls_own_rewards_work_unchanged(name, options, values):
    pytest.importorskip("trl.rewards")
    pytest.importorskip("math_verify")
    reward = rewards.get(f"trl.rewards:{name}", **options)
    texts = ["<think>\na\n</think> \\boxed{12}", "12"]
    assert reward(completions=texts, **{**COLUMNS, "gold": ["12", "12"]}) == pytest.approx(values)
    assert pickle.loads(pickle.dumps(reward)).__name__ == reward.__name__
