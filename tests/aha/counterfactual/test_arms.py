"""Where a counterfactual cuts, what it puts there, and what it keeps on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from r1rl.aha.counterfactual import arms as counterfactual
from r1rl.aha.counterfactual import continuations, corruption, policies
from r1rl.aha.counterfactual import store as counterfactual_store
from r1rl.aha.counterfactual.arms import ARMS
from r1rl.aha.counterfactual.continuations import Branch, Continued
from r1rl.aha.counterfactual.local import Local
from r1rl.aha.counterfactual.settings import Settings
from r1rl.aha.counterfactual.store import PART
from r1rl.aha.counterfactual.tokens import TokenCuts
from r1rl.models.base import tokenizer as tiny_tokenizer
from r1rl.rollout.engine import Engine
from r1rl.store import store
from r1rl.verify import Verdict
from tests.aha.annotated_runs import rollout

TOKENIZER = tiny_tokenizer.build()
RETRIED = "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
GAVE_UP = "<think> 3 - 2 = 1 , 1 + 1 = 2 no </think> <answer> 3 - 2 + 1 </answer>"
PLAIN = "<think> 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
TEXTS = {"answer": " </think> <answer>", "inject": "wait ,"}


def row(prompt_id: str, sample: int, completion: str, **changes: Any) -> dict[str, Any]:
    ids = TOKENIZER(completion, add_special_tokens=False)["input_ids"]
    return rollout(prompt_id, sample, completion=completion, token_ids=ids, n_tokens=len(ids), **changes)


def texts_of(point: counterfactual.Point) -> dict[str, str]:
    tokens = TokenCuts(TOKENIZER)
    return {
        branch.arm: tokens.text(branch.ids) for branch in counterfactual.branches(point, tokens, **TEXTS, samples=1)
    }


def test_the_arms_of_a_marker() -> None:
    (point,) = counterfactual.points([row("p", 0, RETRIED), row("p", 1, GAVE_UP)], most=9, seed=0)
    found = texts_of(point)
    assert set(found) == set(ARMS)
    before = "<think> 1 + 2 = 3 , 3 - 3 = 0 no"
    assert found["banned"] == found["free"] == before
    assert found["answer_before"] == before + " </think> <answer>"
    assert found["answer_after"] == before + " , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer>"
    # The matching boundary is that behind the same word, where the policy gave up.
    assert found["no_inject"] == GAVE_UP.partition(" </think>")[0]
    assert found["inject"] == found["no_inject"] + " , wait ,"
    assert found["placebo_banned"] == found["placebo_free"]
    assert "wait" not in found["placebo_answer_after"].removeprefix(found["placebo_free"])
    branches = counterfactual.branches(point, TokenCuts(TOKENIZER), **TEXTS, samples=3)
    assert len(branches) == 3 * len(ARMS)
    assert {branch.arm for branch in branches if branch.banned} == {"banned", "placebo_banned"}
    for branch in branches:
        forced = branch.arm in counterfactual.FORCED
        assert branch.room == (counterfactual.ANSWER_TOKENS if forced else 100 - len(branch.ids))


def test_another_prompts_boundary_where_the_own_prompt_has_none_alike() -> None:
    rows = [row("p", 0, RETRIED), row("q", 0, GAVE_UP)]
    (point,) = counterfactual.points(rows, most=9, seed=0)
    assert point.matched is not None
    assert point.matched.row["prompt_id"] == "q"
    assert point.random is not None
    assert point.random.row["prompt_id"] == "p"


def test_a_prompt_without_plain_boundaries_has_no_placebo() -> None:
    (point,) = counterfactual.points([row("p", 0, "<think> wait")], most=9, seed=0)
    assert set(texts_of(point)) == {"answer_before", "answer_after", "banned", "free"}


def test_points_are_drawn_the_same_in_any_order_and_at_most_so_many() -> None:
    rows = [row(f"p{i}", j, RETRIED) for i in range(6) for j in range(2)]
    few = counterfactual.points(rows, most=5, seed=1)
    assert [point.number for point in few] == list(range(5))
    keys = [(point.marker.row["prompt_id"], point.marker.row["sample_idx"]) for point in few]
    again = counterfactual.points(rows[::-1], most=5, seed=1)
    assert [(p.marker.row["prompt_id"], p.marker.row["sample_idx"]) for p in again] == keys
    other = counterfactual.points(rows, most=5, seed=2)
    assert [(p.marker.row["prompt_id"], p.marker.row["sample_idx"]) for p in other] != keys
    assert not counterfactual.points([{**rows[0], "token_ids": None}], most=5, seed=1)


@pytest.mark.parametrize(
    ("completions", "extraction", "expected"),
    [
        pytest.param([RETRIED, PLAIN], "answer-tag", " </think> <answer>", id="as the rollouts write it"),
        pytest.param(["a</think>\n<answer>1"], "answer-tag", "</think>\n<answer>", id="with a line break"),
        pytest.param(["nothing"], "answer-tag", " </think> <answer>", id="tags never written"),
        pytest.param([PLAIN], "boxed", "\n\nThe final answer is \\boxed{", id="boxed"),
        pytest.param([], "last-number", "\n\nThe final answer is ", id="a number"),
    ],
)
def test_what_forces_an_answer(completions: list[str], extraction: str, expected: str) -> None:
    assert counterfactual.forced_answer([row("p", 0, text) for text in completions], extraction) == expected


def test_claims_are_falsified_towards_the_other_side() -> None:
    rows = [row(f"p{i}", 0, PLAIN if i % 2 else GAVE_UP) for i in range(4)]
    rows += [row("slip", 0, PLAIN.replace("= 6", "= 7")), row("none", 0, "<think> hm </think>")]
    found = corruption.claims(rows, most=9, seed=0)
    assert {claim.row["prompt_id"] for claim in found if claim.hits} == {"p1", "p3"}
    for claim in found:
        assert claim.row["completion"][claim.start : claim.end] == str(claim.value)
        assert (claim.value == 6) == claim.hits
        assert (claim.written == 6) != claim.hits
    tokens = TokenCuts(TOKENIZER)
    for claim in found:
        intact, false = (tokens.text(branch.ids) for branch in corruption.branches(claim, tokens, 1))
        assert claim.row["completion"].startswith(intact)
        assert false.rpartition(" ") == (intact.rpartition(" ")[0], " ", str(claim.written))


@pytest.mark.parametrize(
    ("text", "said", "noticed"),
    [
        pytest.param("<think> 1 + 2 = 3 , 3 + 3 = 7 target 6 got 7 no", False, False, id="goes by what is written"),
        pytest.param("<think> 1 + 2 = 3 , 3 + 3 = 7 yes", True, True, id="goes by the true value"),
        pytest.param("<think> 1 + 2 = 3 , 3 + 3 = 7 , 1 + 2 = 3 , 3 + 3 = 6 yes", None, True, id="computes it again"),
        pytest.param("<think> 1 + 2 = 3 , 3 + 3 = 7 </think> <answer>", None, None, id="says nothing"),
    ],
)
def test_what_became_of_a_falsified_value(text: str, said: bool | None, noticed: bool | None) -> None:
    (claim,) = corruption.claims([row("p", 0, PLAIN)], most=1, seed=0)
    branch = Branch(claim.row, "corrupted", 0, 0, (), 0, 9)
    found = corruption.outcome(claim, Continued(branch, text, 0, (), "stop", Verdict("wrong", None, "")))
    assert (found["said"], corruption.noticed(found)) == (said, noticed)


@pytest.mark.parametrize(
    ("hits", "misses", "most", "expected"),
    [
        pytest.param(9, 9, 6, (3, 3), id="enough"),
        pytest.param(1, 9, 6, (1, 5), id="few hits"),
        pytest.param(9, 1, 6, (5, 1), id="few misses"),
        pytest.param(2, 1, 6, (2, 1), id="few of both"),
        pytest.param(9, 0, 4, (4, 0), id="no misses"),
        pytest.param(9, 9, 5, (2, 3), id="an odd number"),
    ],
)
def test_claims_are_half_hits_where_there_are_enough(
    hits: int, misses: int, most: int, expected: tuple[int, int]
) -> None:
    rows = [row(f"h{i}", 0, PLAIN) for i in range(hits)]
    rows += [row(f"m{i}", 0, GAVE_UP) for i in range(misses)]
    found = corruption.claims(rows, most=most, seed=0)
    assert (sum(claim.hits for claim in found), sum(not claim.hits for claim in found)) == expected
    assert [claim.number for claim in found] == list(range(len(found)))


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose policies are there by name, and whose continuations are made up."""
    run = tmp_path / "run"
    for step in (0, 20, 30):
        rows = [row(f"p{i}", 0, RETRIED) for i in range(PART + 5)]
        store.write_shard(run, rows, kind="eval", step=step, rank=0)
    (run / "recipe.yaml").write_text("model_name_or_path: base:countdown\nmax_completion_length: 100\n")
    for step in (10, 20):
        (run / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
        (run / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    final = run / "checkpoints" / "final"
    final.mkdir()
    (final / "config.json").write_text("{}")
    (run / "result.json").write_text(json.dumps({"steps": 30, "finished": True}))

    class Fake:
        tokenizer = TOKENIZER
        extraction = "answer-tag"
        engine = Engine(TOKENIZER, [TOKENIZER.eos_token_id])

    monkeypatch.setattr(policies, "writer", lambda *_: Local(Fake()))  # type: ignore[arg-type]
    return run


def made_up(calls: list[int]) -> Any:
    def sample(policy: Any, branches: Sequence[Branch], **_: Any) -> list[Continued]:
        calls.append(len({branch.point for branch in branches}))
        return [
            Continued(branch, TokenCuts(TOKENIZER).text(branch.ids) + " yes", 0, (1,), "stop",
                      Verdict("correct" if branch.arm == "free" else "wrong", None, ""))
            for branch in branches
        ]  # fmt: skip

    return sample


def test_it_goes_on_where_it_was_cut_off(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(continuations, "sample", made_up(calls))
    settings = Settings(points=PART + 2)
    rows = counterfactual_store.compute(run_dir, 20, settings, progress=True)
    assert calls == [PART, 2, PART, 2]
    assert f" 0/{2 * PART + 4} " in capsys.readouterr().err
    assert {row["arm"] for row in rows} == {*ARMS, *corruption.ARMS}
    keys = [(row["arm"], row["point"], row["sample"]) for row in rows]
    assert len(keys) == len(set(keys)) == (PART + 2) * 2 * (len(ARMS) + 2)
    files = sorted((run_dir / "counterfactual").glob("*/*.parquet"))
    files[1].unlink()
    again = counterfactual_store.compute(run_dir, 20, settings)
    assert len(calls) == 5
    assert again == rows
    assert counterfactual_store.compute(run_dir, 20, settings) == rows
    assert len(calls) == 5


def test_other_settings_and_other_sources_are_sampled_anew(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(continuations, "sample", made_up(calls))
    for settings in (Settings(points=3), Settings(points=3, seed=1), Settings(points=3, samples=1)):
        counterfactual_store.compute(run_dir, 20, settings)
    assert len(calls) == 6
    store.write_shard(run_dir, [row("p0", 0, RETRIED)], kind="eval", step=20, rank=0)
    rows = counterfactual_store.compute(run_dir, 20, Settings(points=3))
    assert len(calls) == 8
    assert {found["prompt_id"] for found in rows} == {"p0"}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [pytest.param(None, [0, 30], id="the first and the last"), pytest.param([30, 20], [20, 30], id="those asked for")],
)
def test_steps(run_dir: Path, steps: list[int] | None, expected: list[int]) -> None:
    assert counterfactual_store.check(run_dir, Settings(), steps) == expected


@pytest.mark.parametrize(
    ("settings", "steps", "match"),
    [
        pytest.param(
            Settings(), [10], "steps=10: no kept policy with held-out rollouts; this run has 0, 20, 30", id="step"
        ),
        pytest.param(Settings(model="base:chess"), None, "unknown base", id="no such model"),
        pytest.param(Settings(model="http://127.0.0.1:1/v1"), None, "say which model", id="an address alone"),
        pytest.param(
            Settings(model="base:countdown"),
            [10],
            "steps=10: no sampled rollouts; this run has 0, 20, 30",
            id="another model, a step without rollouts",
        ),
    ],
)
def test_errors(run_dir: Path, settings: Settings, steps: list[int] | None, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        counterfactual_store.check(run_dir, settings, steps)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        pytest.param({"points": 0}, "points=0: need >= 1", id="points"),
        pytest.param({"samples": 0}, "samples=0: need >= 1", id="samples"),
        pytest.param({"max_rollouts": 0}, "max_rollouts=0: need >= 1", id="rollouts"),
        pytest.param({"temperature": -1.0}, "temperature=-1.0: need 0", id="temperature"),
        pytest.param({"top_p": 0.0}, "top_p=0.0: need more than 0", id="top_p"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Settings(**changes)
