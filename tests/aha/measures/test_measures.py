"""Each measure on rollouts worked out by hand, and on ones of which it must say zero."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest

from r1rl.aha.measures import answer_entropy, first_candidate, recheck, suite, support, surprise
from r1rl.aha.measures.samples import Sample
from tests.aha.measures.made_up import HIT, MISS, sample, sums, with_tokens

CHECKED = f"{MISS} target 12 got 10 no , try again : {HIT} target 12 got 12 yes"


@pytest.mark.parametrize(
    ("reasoning", "after", "after_right"),
    [
        pytest.param(HIT, (0, 9 + 2), (0, 9 + 2), id="nothing after the candidate: zero"),
        pytest.param(f"{MISS} target 12 got 10 no", (5, 11 + 5), None, id="a check comes after it"),
        pytest.param(CHECKED, (5 + 4 + 11 + 5, 36), (5, 36), id="a retry too; after the right one its check"),
        pytest.param("17 is large , so what", None, None, id="no candidate"),
    ],
)
def test_tokens_after_the_first_candidate(
    reasoning: str, after: tuple[float, float] | None, after_right: tuple[float, float] | None
) -> None:
    found = sums(first_candidate.MEASURE, [with_tokens(sample(reasoning), [0.0])])
    assert found.get("after_first_candidate") == (None if after is None else [after])
    assert found.get("after_right_candidate") == (None if after_right is None else [after_right])
    if after is not None:
        (position,) = found["first_candidate_at"]
        assert position == (pytest.approx(1 - after[0] / after[1]), 1)


def test_characters_stand_for_tokens_that_are_not_known() -> None:
    found = sums(first_candidate.MEASURE, [sample(f"{MISS} , no")])
    assert found["after_first_candidate"] == [(len(" , no"), len(f"{MISS} , no"))]


@pytest.mark.parametrize(
    ("reasoning", "wanted"),
    [
        pytest.param(HIT, [], id="no reflection: zero"),
        pytest.param(f"{MISS} target 12 got 10 no", [("recheck", "idle")], id="a check that nothing follows"),
        pytest.param(CHECKED, [("recheck", "effective"), ("rethink", "effective"), ("recheck", "idle")],
                     id="a check, another try, a check of it"),
        pytest.param(f"{HIT} , let me check : {HIT}", [("recheck", "confirmatory")], id="right again"),
        pytest.param(f"{HIT} , try again : {MISS}", [("rethink", "harmful")], id="right, then wrong"),
        pytest.param(f"{MISS} , wait , {HIT}", [("other", "effective")], id="an interruption is neither"),
    ],
)  # fmt: skip
def test_rechecks_and_rethinks(reasoning: str, wanted: list[tuple[str, str]]) -> None:
    one = sample(reasoning)
    assert recheck.reflections(one) == wanted
    found = sums(recheck.MEASURE, [one])
    for name in ("recheck", "rethink"):
        mine = [label for kind, label in wanted if kind == name]
        assert found[f"{name}s"] == [(len(mine), 1)]
        for label in ("effective", "confirmatory", "harmful", "idle"):
            assert found[f"{name}_{label}"] == [(mine.count(label), len(mine))]
    assert found["recheck_share"] == [(sum(kind == "recheck" for kind, _ in wanted), len(wanted))]


def test_without_an_attempt_detector_reflections_are_counted_alone() -> None:
    one = sample("let me check that", gold="sixteen", verifier="code", task="other")
    found = sums(recheck.MEASURE, [one])
    assert found["rechecks"] == [(1, 1)]
    assert "recheck_idle" not in found


def doubtful(reasoning: str, surprises: Sequence[float]) -> Sample:
    """The first surprise is that of `<think>`, which is no reasoning."""
    return with_tokens(sample(reasoning), [0.0, *surprises])


def test_surprise_before_a_marker_by_hand() -> None:
    one = doubtful(f"{MISS} , try again : {HIT}", [4.0, 2.0, 0.5, *[0.0] * 8, 1.0, 0.25, *[0.0] * 20])
    found = sums(surprise.MEASURE, [one])
    words = f"{MISS} , try again : {HIT}".split()
    window = words.index("try")
    nats = [4.0, 2.0, 0.5, *[0.0] * 8, 1.0, 0.25]
    before = nats[window - surprise.WINDOW : window]
    assert found["surprise_before"] == [(pytest.approx(sum(before)), surprise.WINDOW)]
    assert found["surprise_elsewhere"] == [(pytest.approx(sum(nats) - sum(before)), len(words) - surprise.WINDOW)]
    assert found["surprise_of_marker"] == [(nats[window], 1)]


def test_reflections_in_doubt_are_the_uppermost_fifth() -> None:
    effective, idle = f"{MISS} , try again : {HIT}", f"{MISS} , try again"
    calm = [doubtful(idle, [0.1]) for _ in range(4)]
    later = [doubtful(effective, [0.2]), doubtful(idle, [0.3])]
    found = sums(surprise.MEASURE, [doubtful(effective, [2.0]), *calm], later)
    assert found["effective_in_doubt"] == [(1, 1), (0, 1)]
    assert found["effective_otherwise"] == [(0, 4), (1, 1)]


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        pytest.param(doubtful(CHECKED, [0.0]), 0.0, id="a policy that is certain: zero"),
        pytest.param(sample(CHECKED), None, id="tokens not known"),
        pytest.param(doubtful(CHECKED, [math.inf]), None, id="a token of no probability"),
    ],
)
def test_nothing_but_known_surprise_is_counted(one: Sample, wanted: float | None) -> None:
    found = sums(surprise.MEASURE, [one])
    assert (found["surprise_before"][0][0] if found else None) == wanted


def test_greedy_rollouts_say_nothing_of_surprise() -> None:
    greedy = with_tokens(sample(CHECKED, temperature=0.0, logprobs=[-0.5]), [0.5])
    assert sums(surprise.MEASURE, [greedy]) == {}
    assert sums(answer_entropy.MEASURE, [greedy]) == {"token_surprise": [(0, 0)]}


A, B, C = "17 - 6 + 1", "17 - ( 6 - 1 )", "17 + 1 - 6"  # A and C are one solution


def solved(*answers: str | None) -> list[Sample]:
    """Right samples with these answers, and a wrong one for each None."""
    return [sample(HIT, answer or "17", correct=answer is not None) for answer in answers]


@pytest.mark.parametrize(
    ("before", "after", "kept", "new", "change"),
    [
        pytest.param(solved(A, None), solved(A, None), (1, 1), (0, 1), (0, 1), id="the same: nothing new or lost"),
        pytest.param(solved(A, None), solved(C, A), (1, 1), (0, 1), (0, 1), id="in another order it is the same"),
        pytest.param(solved(A, "6"), solved("6", "5"), (1, 2), (1, 2), (0, 3), id="one lost, one new"),
        pytest.param(solved(A, "6"), solved(None, None), (0, 2), (0, 0), (-2, 2), id="all lost"),
        pytest.param(solved(None, None), solved(A, A), (0, 0), (1, 1), (1, 1), id="all new"),
    ],
)
def test_support_by_hand(
    before: list[Sample],
    after: list[Sample],
    kept: tuple[int, int],
    new: tuple[int, int],
    change: tuple[int, int],
) -> None:
    found = sums(support.MEASURE, before, after)
    assert [found[f"support_{key}"][1] for key in ("kept", "new", "change")] == [kept, new, change]
    assert found["support_kept"][0] == (0, 0)  # the first step has nothing before it


@pytest.mark.parametrize(("first", "last"), [(2, 2), (3, 1), (4, 4)])
def test_what_chance_alone_would_keep(first: int, last: int) -> None:
    for times in range(1, first + last + 1):
        splits = [set(split) for split in itertools.combinations(range(first + last), first)]
        mine = set(range(times))
        wanted = (
            sum(bool(mine & split) for split in splits) / len(splits),
            sum(bool(mine - split) for split in splits) / len(splits),
        )
        assert support._chances(times, first, last) == pytest.approx(wanted)


def test_support_needs_verdicts() -> None:
    assert sums(support.MEASURE, [sample(HIT, correct=None)], solved(A)) == {}


@pytest.mark.parametrize(
    ("answers", "entropy", "distinct"),
    [
        pytest.param([A, A, C, A], 0.0, 1, id="one answer, also in another order: zero"),
        pytest.param([A, A, "6", "6"], math.log(2), 2, id="two of equal share"),
        pytest.param([A, A, A, None], 0.75 * math.log(4 / 3) + 0.25 * math.log(4), 2, id="none is one more answer"),
    ],
)
def test_entropy_of_answers(answers: list[str | None], entropy: float, distinct: int) -> None:
    samples = [sample(HIT, answer or "", correct=False) for answer in answers]
    found = sums(answer_entropy.MEASURE, samples)
    assert found["answer_entropy"] == [(pytest.approx(entropy), 1)]
    assert found["distinct_answers"] == [(distinct, 1)]


def test_entropy_of_a_token_is_the_mean_surprise() -> None:
    samples = [sample(HIT, logprobs=[-1.0, 0.0]), sample(HIT, logprobs=[-0.5]), sample(HIT, logprobs=None)]
    assert sums(answer_entropy.MEASURE, samples)["token_surprise"] == [(1.5, 3)]


@pytest.mark.parametrize(
    ("completion", "verifier", "gold", "wanted"),
    [
        pytest.param("<answer> 1 / 2 </answer>", "math", "0.5", "0.5", id="the verifier's normal form"),
        pytest.param("so \\boxed{4}", "math", "4", "4", id="in a box"),
        pytest.param("<answer>  a  b </answer>", "code", "x", "a b", id="no normal form: the words"),
        pytest.param("no answer", "math", "4", None, id="none"),
    ],
)
def test_equal_answers_have_one_form(completion: str, verifier: str, gold: str, wanted: str | None) -> None:
    one = sample("", completion=completion, verifier=verifier, gold=gold, task="other", meta="{}")
    other = sample("", completion="<answer>0.50</answer>", verifier="math", gold="0.5", task="other", meta="{}")
    assert one.answer == (other.answer if wanted == "0.5" else wanted)


def test_every_figure_of_a_measure_has_a_name_of_its_own() -> None:
    keys = [figure.key for figure in suite.figures()]
    assert len(keys) == len(set(keys))
    assert not set(keys) & set(suite.FIGURES)
    assert set(suite.SHORT) <= set(keys)
