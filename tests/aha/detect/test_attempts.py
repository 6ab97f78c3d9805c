"""Countdown attempts: known styles by table, random problems against known labels, hostile text."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from r1rl.aha.detect.attempts import Attempt, transitions
from r1rl.aha.detect.reasoning import reasoning_spans
from r1rl.verify import expression as expressions
from tests.aha.detect.tracing import find_attempts, trace


def find(text: str, numbers: list[int] | None = None, gold: str = "22", prefill: str = "") -> list[Attempt]:
    meta = {"numbers": numbers or [3, 5, 7]}
    return find_attempts(text, gold=gold, meta=meta, prefill=prefill)


def brief(attempts: list[Attempt]) -> list[tuple[str | None, str | None, bool]]:
    return [(attempt.value, attempt.claimed, attempt.right) for attempt in attempts]


HIT = ("22", "22", True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("3 * 5 = 15 , 15 + 7 = 22 target 22 got 22 yes", [HIT], id="tiny base"),
        pytest.param(
            "3 + 5 = 8 , 8 + 7 = 15 target 22 got 15 no , wait , 3 * 5 = 15 , 15 + 7 = 22 target 22 got 22 yes",
            [("15", "15", False), HIT],
            id="tiny base, second try",
        ),
        pytest.param("Let's try (3*5)+7 = 22.", [HIT], id="direct"),
        pytest.param("Using 3, 5 and 7 to make 22: 3*5+7", [("22", None, True)], id="nothing claimed"),
        pytest.param("3 × 5 = 15, then 15 + 7 = 22", [HIT], id="unicode times"),
        pytest.param("3·5 = 15; 15 − 7 = 8", [("8", "8", False)], id="dot and minus sign"),
        pytest.param("\\(3 \\times 5 = 15\\), \\(15 + 7 = 22\\)", [HIT], id="inline LaTeX"),
        pytest.param("\\[ 3 \\times 5 + 7 \\\\ = 15 + 7 \\\\ = 22 \\]", [HIT], id="displayed LaTeX"),
        pytest.param("$\\frac{5+7}{3} = 4$", [("4", "4", False)], id="fraction"),
        pytest.param("$\\dfrac{\\frac{5}{3}}{7} = \\frac{5}{21}$", [("5/21", "5/21", False)], id="nested fraction"),
        pytest.param("\\boxed{(3 \\cdot 5) + 7 = 22}", [HIT], id="boxed"),
        pytest.param("First 3*5 = 15.\nThen 15 + 7\n= 22.", [HIT], id="several lines"),
        pytest.param("Step 1: 3*5 = 15\nStep 2: 15+7 = 22", [HIT], id="numbered steps"),
        pytest.param("1. 3 * 5 = 15\n2. 15 + 7 = 22", [HIT], id="numbered list"),
        pytest.param("- 3 * 5 = 15\n- 15 + 7 = 22", [HIT], id="bullets"),
        pytest.param("* **3 * 5 = 15**\n* **15 + 7 = 22**", [HIT], id="bullets and bold type"),
        pytest.param("3 x 5 = 15, 15 + 7 = 22", [HIT], id="letter x"),
        pytest.param("3 times 5 is 15 and 15 plus 7 is 22", [HIT], id="words"),
        pytest.param("(3*5)+7, which equals 22", [HIT], id="which equals"),
        pytest.param("[3 * 5] + 7 = 22", [HIT], id="square brackets"),
        pytest.param("(3*5 = 15), (15+7 = 22)", [HIT], id="equations in brackets"),
        pytest.param("(we have 3*5+7 = 22)", [HIT], id="a sentence in brackets"),
        pytest.param("22 = 3*5 + 7", [HIT], id="target first"),
        pytest.param("x = 3*5+7 = 15+7 = 22", [HIT], id="rewritten"),
        pytest.param("3*5 = 15 + 7 = 22", [HIT], id="running on"),
        pytest.param("3*5, then 15+7 = 22", [HIT], id="first step unclaimed"),
        pytest.param("3 - 5 = -2, -2 + 7 = 5", [("5", "5", False)], id="negative intermediate"),
        pytest.param("3 - 5 = - 2 , 7 - (-2) = 9", [("9", "9", False)], id="negative in brackets"),
        pytest.param("7 / 5 = 1.4, 1.4 * 3 = 4.2", [("21/5", "21/5", False)], id="decimal intermediate"),
        pytest.param("3/(5+7) = 1/4", [("1/4", "1/4", False)], id="claimed ratio"),
        # Slips: the claim is the model's, the value is the truth.
        pytest.param("3 + 5 = 8 , 8 + 7 = 22", [("15", "22", False)], id="slip onto the target"),
        pytest.param("3 * 5 = 16 , 16 + 7 = 23", [("22", "23", True)], id="slip off the target"),
        pytest.param("(3*5)+7 = 21, no", [("22", "21", True)], id="right but not noticed"),
        # A conclusion, a second look, a resumed chain.
        pytest.param("(3*5)+7 = 22. So the answer is 7 + 5*3", [HIT, ("22", None, True)], id="conclusion"),
        pytest.param("3*5=15, 15-7=8 no. 15+7=22 yes", [("8", "8", False), HIT], id="resumed from an intermediate"),
        pytest.param("7-5=2, hm, 3*5=15, 15+7=22", [HIT], id="abandoned half way"),
        pytest.param("7-5=2 no, 3*5=15, 15+7=22", [("2", "2", False), HIT], id="tested half way"),
        pytest.param("3*5=15, too low, 15+7=22", [HIT], id="tested on the way"),
        pytest.param("3*5=15 target 22 got 15 no", [("15", "15", False)], id="partial, put forward"),
        pytest.param("3*5=15, 15+5=20 target 9 got 20", [("20", "20", False)], id="illegal, put forward, cut off"),
        pytest.param("3 times 5 is 15, plus 7 makes 22", [HIT], id="words that go on"),
        pytest.param("3 times 5 is 16, plus 7 makes 23", [("22", "23", True)], id="words that go on from a slip"),
        pytest.param("3*5=16+7=23", [("22", "23", True)], id="running on from a slip"),
        pytest.param("3*5=15, 15-7=8 no. 3*5=15, 15-7=8 no", [("8", "8", False)] * 2, id="again after a rejection"),
        pytest.param("3 - 5/7 = 16/7. 16/7 is not 22", [("16/7", "16/7", False)], id="a fraction said again"),
        pytest.param("3/(5-5+7) or (3+7)/(5-5)", [], id="5 used twice"),
        pytest.param("3*5 = 15 and 22 - 7 = 15", [], id="worked backwards"),
        # What is no attempt.
        pytest.param("3 * 5 = 15", [], id="partial"),
        pytest.param("3 * 5 = 15 , 15 + 5 = 20", [], id="uses 5 twice"),
        pytest.param("3 * 5 = 15 , 15 + 6 = 21", [], id="uses 6"),
        pytest.param("Use 3, 5, 7 to make 22. [3, 5, 7] 3 5 7", [], id="numbers only"),
        pytest.param("3^5+7, 3**5+7, 3 ** 5 + 7, 3//5+7, 3%5+7", [], id="other operators"),
        pytest.param("2^3*5+7, 2**3*5+7, 2//3*5+7", [], id="what follows another operator"),
        pytest.param("x3*5+7 = 22, 3*5+7kg, 3²*5+7", [], id="part of a word"),
        pytest.param("* 3*5+7 or + 3*5+7", [("22", None, True)], id="bullet once, then half an expression"),
        pytest.param("3*5+(7 = 22", [], id="bracket never closed"),
        pytest.param("(3)(5)+7 = 22", [], id="juxtaposition"),
        pytest.param("٣*5+7 = 22, 3*5+𝟽", [], id="digits that are not ASCII"),
        pytest.param("", [], id="empty"),
    ],
)
def test_styles(text: str, expected: list[tuple[str | None, str | None, bool]]) -> None:
    assert brief(find(text)) == expected


def test_one_attempt_in_full() -> None:
    text = "<think> 3 * 5 = 15 , 15 + 7 = 22 target 22 got 22 yes </think> <answer> ( 3 * 5 ) + 7 </answer>"
    assert find(text) == [
        Attempt(
            start=8,
            end=32,
            text="3 * 5 = 15 , 15 + 7 = 22",
            expression="(3 * 5) + 7",
            value="22",
            claimed="22",
            complete=True,
            right=True,
            repeat=False,
        )
    ]


@pytest.mark.parametrize(
    ("numbers", "text", "expression"),
    [
        pytest.param([3, 5, 8], "3 + 5 = 8 , 8 * 8 = 64", "8 * (3 + 5)", id="8 is a number and a result"),
        pytest.param([8, 3, 5], "3 + 5 = 8 , 8 - 8 = 0", "8 - (3 + 5)", id="the given number first"),
        pytest.param([2, 2, 4, 4], "2 + 2 = 4 , 4 + 4 = 8 , 8 + 4 = 12", "(4 + 4) + (2 + 2)", id="complete if any is"),
        pytest.param([1, 2, 3, 4], "1 + 2 = 3 , 3 + 3 = 6 , 6 + 4 = 10", "(3 + (1 + 2)) + 4", id="two results"),
        pytest.param([6, 6, 6], "6 + 6 = 12 , 12 / 6 = 2", "(6 + 6) / 6", id="repeated number"),
        pytest.param([10, 5, 2], "10 * 5 = 50 , 10 * 2 = 20 , 20 / 5 = 4", "(10 * 2) / 5", id="latest result"),
        pytest.param([3, 4, 5], "4 + 5 = 9 , 3 + 4 = 9 , 9 * 3 = 27", "(4 + 5) * 3", id="older result where needed"),
        pytest.param([25, 3, 4, 9], "9-4 = 5, 25-3 = 22, 22+5 = 27", "(25 - 3) + (9 - 4)", id="branches"),
    ],
)
def test_intermediates_are_traced(numbers: list[int], text: str, expression: str) -> None:
    assert [attempt.expression for attempt in find(text, numbers)] == [expression]


def test_a_given_number_is_a_fresh_start_after_an_attempt() -> None:
    # 3+5 = 8 belongs to the first attempt; the 8 that follows is the given one, so nothing is complete.
    assert len(find("3+5 = 8, 8*8 = 64, 64-7 = 57 no. 8+7 = 15, 15+8 = 23", [3, 5, 7, 8])) == 1


@pytest.mark.parametrize(
    ("numbers", "text", "values"),
    [
        pytest.param(
            [7, 4, 2, 9], "9+4=13, 13-2=11, 7*11=77 no. 9+2=11, 11+7=18, 4+18=22", ["77", "22"], id="11 was made anew"
        ),
        pytest.param(
            [4, 6, 5, 8], "4-8=-4, -4+6=2, 2+5=7 no. 8-6=2, 5*2=10, 10*4=40", ["7", "40"], id="2 was made anew"
        ),
    ],
)
def test_results_of_this_attempt_come_before_those_of_earlier_ones(
    numbers: list[int], text: str, values: list[str]
) -> None:
    assert [attempt.value for attempt in find(text, numbers)] == values


@pytest.mark.parametrize(
    ("text", "repeats", "kinds"),
    [
        pytest.param("3*5+7 = 22. The answer is (5*3) + 7", [False, True], [], id="conclusion"),
        pytest.param("3+5+7 = 15, so 3*5+7 = 22", [False, False], ["wrong_right"], id="correction"),
        pytest.param("3+5+7 = 15 or 7+5+3 = 15 or 3*5+7", [False, True, False], ["wrong_right"], id="restated miss"),
        pytest.param("7-5+3, 7-(5-3), 7+3-5", [False, True, True], [], id="same form by algebra"),
        pytest.param("3+5+7, 3*5-7, 3+5+7", [False] * 3, ["wrong_different"] * 2, id="back to the first"),
    ],
)
def test_repeats_are_marked(text: str, repeats: list[bool], kinds: list[str]) -> None:
    attempts = find(text)
    assert [attempt.repeat for attempt in attempts] == repeats
    assert transitions(attempts) == kinds


def test_division_by_zero_is_a_wrong_attempt() -> None:
    (attempt,) = find("3 / (5 - 5) = 0", [3, 5, 5], "0")
    assert (attempt.value, attempt.claimed, attempt.complete, attempt.right) == (None, "0", True, False)


def test_a_fractional_target() -> None:
    assert [attempt.right for attempt in find("7/2 = 3.5, 7/2 = 3.5", [7, 2], "7/2")] == [True, True]


@pytest.mark.parametrize(
    ("completion", "prefill", "expected"),
    [
        pytest.param("no tags", "", ["no tags"], id="no tags"),
        pytest.param("<think>a</think><answer>b</answer>", "", ["a"], id="both tags"),
        pytest.param("x <think>a</think> b", "", ["a"], id="text before"),
        pytest.param("a</think><answer>b</answer>", "<think>", ["a"], id="prefilled"),
        pytest.param("a <think> b</think>", "... <think>\n", ["a <think> b"], id="opened twice"),
        pytest.param("a</think>b", "", ["a"], id="never opened"),
        pytest.param("<think>a", "", ["a"], id="cut off"),
        pytest.param("a <answer>b</answer> c", "", ["a "], id="answer without think tags"),
        pytest.param("<think>a<answer>b</answer>c</think>d", "", ["a", "c"], id="answer inside"),
        pytest.param("<think>a<answer>b</think>c</answer>", "", ["a"], id="answer left open inside"),
        pytest.param("</think><think>a</think>", "", [""], id="closed first"),
        pytest.param("", "<think>", [""], id="empty"),
    ],
)
def test_reasoning_spans(completion: str, prefill: str, expected: list[str]) -> None:
    assert [completion[start:end] for start, end in reasoning_spans(completion, prefill)] == expected


def test_no_attempt_in_the_answer_or_after_the_reasoning() -> None:
    assert find("<think> hm </think> 3*5+7 = 22 <answer> 3*5+7 </answer>") == []
    assert brief(find("3*5+7 = 22 </think> <answer> 3*7-5 </answer>", prefill="<think>")) == [HIT]


@pytest.mark.parametrize(
    ("gold", "meta"),
    [
        pytest.param("22", {}, id="no numbers"),
        pytest.param("22", {"numbers": [22]}, id="one number"),
        pytest.param("22", {"numbers": "357"}, id="numbers not a list"),
        pytest.param("22", {"numbers": [3, "5", 7]}, id="number not an int"),
        pytest.param("22", {"numbers": list(range(99))}, id="too many"),
        pytest.param("twenty-two", {"numbers": [3, 5, 7]}, id="gold not a number"),
        pytest.param("1/0", {"numbers": [3, 5, 7]}, id="gold divides by zero"),
        pytest.param("1e99999999", {"numbers": [3, 5, 7]}, id="gold without end"),
    ],
)
def test_no_usable_problem_means_no_attempts(gold: str, meta: dict[str, Any]) -> None:
    assert find_attempts("3*5+7 = 22", gold=gold, meta=meta) == []


def test_trace_tells_partial_and_illegal_steps() -> None:
    steps = [(step.status, step.value) for step in trace("3*5 = 15, 15+5 = 20, 15+7 = 22", [3, 5, 7], 22)]
    assert steps == [("partial", 15), ("illegal", 20), ("complete", 22)]


def attempt(value: str | None, *, target: str = "22", repeats: bool = False) -> Attempt:
    return Attempt(0, 1, "x", "1 + 1", value, value, True, value == target, repeats)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([attempt("7")], [], id="one"),
        pytest.param([attempt("7"), attempt("22")], ["wrong_right"], id="corrected"),
        pytest.param([attempt("7"), attempt("8"), attempt("8")], ["wrong_different", "wrong_same"], id="wrong"),
        pytest.param([attempt("22"), attempt("22"), attempt("7")], ["right_right", "right_wrong"], id="given up"),
        pytest.param([attempt("7"), attempt("7", repeats=True), attempt("22")], ["wrong_right"], id="repeat left out"),
        pytest.param([attempt("22"), attempt("22", repeats=True)], [], id="conclusion is no transition"),
        pytest.param([attempt(None), attempt("7")], ["wrong_different"], id="division by zero"),
    ],
)
def test_transitions(attempts: list[Attempt], expected: list[str]) -> None:
    assert transitions(attempts) == expected


# --- oracle: random problems written in many styles, labels known ------------------------------------------------


class Line(NamedTuple):
    """One operation on values: the tree it stands for is known to the generator, not to the detector."""

    left: Fraction
    operator: str
    right: Fraction
    value: Fraction


class Problem(NamedTuple):
    numbers: list[int]
    lines: list[Line]
    expression: str  # fully bracketed
    value: Fraction


OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


def random_solution(numbers: list[int], chance: random.Random) -> Problem:
    """A random tree over the numbers; intermediates are whole, so each style can write them."""
    while True:
        pool = [(Fraction(n), str(n)) for n in numbers]
        lines: list[Line] = []
        while len(pool) > 1:
            chance.shuffle(pool)
            (left, left_text), (right, right_text) = pool.pop(), pool.pop()
            operator = chance.choice("++--**/")
            if operator == "/" and (right == 0 or (left / right).denominator > 1):
                break
            value = OPERATIONS[operator](left, right)
            lines.append(Line(left, operator, right, value))
            pool.append((value, f"({left_text} {operator} {right_text})"))
        else:
            return Problem(numbers, lines, pool[0][1], pool[0][0])


def bracketed(value: Fraction) -> str:
    return str(value) if value >= 0 else f"({value})"


def spaced_chain(problem: Problem, claim: Fraction) -> str:
    claims = [*(line.value for line in problem.lines[:-1]), claim]
    steps = [f"{a} {op} {b} = {c}" for (a, op, b, _), c in zip(problem.lines, claims, strict=True)]
    return " , ".join(steps) + f" target 22 got {claim} no"


def prose_chain(problem: Problem, claim: Fraction) -> str:
    signs = {"*": "×", "/": "÷", "-": "−", "+": "+"}
    claims = [*(line.value for line in problem.lines[:-1]), claim]
    steps = [
        f"{bracketed(a)} {signs[op]} {bracketed(b)} = {c}"
        for (a, op, b, _), c in zip(problem.lines, claims, strict=True)
    ]
    return "Let's try " + ", then ".join(steps) + ". Not quite"


def listed_chain(problem: Problem, claim: Fraction) -> str:
    claims = [*(line.value for line in problem.lines[:-1]), claim]
    steps = [f"{bracketed(a)}{op}{bracketed(b)}={c}" for (a, op, b, _), c in zip(problem.lines, claims, strict=True)]
    return "\n" + "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1)) + "\n"


def latex_chain(problem: Problem, claim: Fraction) -> str:
    signs = {"*": "\\times", "/": "\\div", "-": "-", "+": "+"}
    claims = [*(line.value for line in problem.lines[:-1]), claim]
    steps = [
        f"\\({bracketed(a)} {signs[op]} {bracketed(b)} = {c}\\)"
        for (a, op, b, _), c in zip(problem.lines, claims, strict=True)
    ]
    return ", so ".join(steps) + "."


def direct(problem: Problem, claim: Fraction) -> str:
    return f"We could use {problem.expression} = {claim}."


def direct_minimal(problem: Problem, claim: Fraction) -> str:
    return f"Perhaps {problem.expression.replace(' ', '')[1:-1]}, which gives {claim}, hmm."


def direct_unclaimed(problem: Problem, claim: Fraction) -> str:
    return f"What about {problem.expression}?"


def reversed_sides(problem: Problem, claim: Fraction) -> str:
    return f"- {claim} = {problem.expression}\n"


def boxed(problem: Problem, claim: Fraction) -> str:
    return f"$$\\boxed{{{problem.expression.replace('*', chr(92) + 'cdot ')}}} = {claim}$$"


def rewritten(problem: Problem, claim: Fraction) -> str:
    last = problem.lines[-1]
    return f"{problem.expression}\n= {bracketed(last.left)} {last.operator} {bracketed(last.right)}\n= {claim}\n"


STYLES: list[Callable[[Problem, Fraction], str]] = [
    *(spaced_chain, prose_chain, listed_chain, latex_chain),
    *(direct, direct_minimal, direct_unclaimed, reversed_sides, boxed, rewritten),
]
GLUE = [" , wait , ", " ", "\n", " No. Let me check again. ", " Hmm, "]


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_every_attempt_is_recovered(style: Callable[[Problem, Fraction], str]) -> None:
    chance = random.Random(style.__name__)
    for _ in range(400):
        numbers = [chance.randint(1, 9 if chance.random() < 0.7 else 99) for _ in range(chance.choice([3, 3, 4]))]
        problems: list[Problem] = []
        for _ in range(chance.randint(1, 3)):
            problem = random_solution(numbers, chance)
            if not problems or _form(problem) != _form(problems[-1]):
                problems.append(problem)
        claims = [p.value if chance.random() < 0.8 else p.value + chance.choice([-3, 1, 10]) for p in problems]
        texts = [style(problem, claim) for problem, claim in zip(problems, claims, strict=True)]
        target = chance.choice(problems).value
        text = "<think> " + chance.choice(GLUE).join(texts) + " </think> <answer> 1 </answer>"

        found = find(text, numbers, str(target))
        shown = json.dumps({"text": text, "numbers": numbers, "found": [a.expression for a in found]})
        # Trees may differ where an intermediate equals a given number; the values of a chain say the same, then.
        assert [a.value for a in found] == [str(p.value) for p in problems], shown
        assert [a.right for a in found] == [p.value == target for p in problems], shown
        claimed = [None] * len(claims) if style is direct_unclaimed else [str(claim) for claim in claims]
        assert [a.claimed for a in found] == claimed, shown
        for attempt, ((_, before), (_, after)) in zip(found, _bounds(texts, text), strict=True):
            assert before <= attempt.start < attempt.end <= after, shown


def _form(problem: Problem) -> str:
    return expressions.canonical(expressions.parse(problem.expression))


def _bounds(texts: list[str], text: str) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    bounds, position = [], 0
    for part in texts:
        start = text.index(part, position)
        position = start + len(part)
        bounds.append((("start", start), ("end", position)))
    return bounds


def test_mixed_styles_in_one_rollout() -> None:
    chance = random.Random(5)
    for styles in itertools.islice(itertools.permutations(STYLES, 3), 300):
        numbers = [chance.randint(1, 9) for _ in range(3)]
        problems = [random_solution(numbers, chance) for _ in styles]
        text = " Hmm. ".join(style(problem, problem.value) for style, problem in zip(styles, problems, strict=True))
        assert [a.value for a in find(text, numbers)] == [str(p.value) for p in problems], text


# --- hostile text ------------------------------------------------------------------------------------------------

ALPHABET = st.sampled_from(
    [
        *("3", "5", "7", "15", "22", "+", "-", "*", "/", "(", ")", "=", " ", "\n", ",", ".", "^", "x", "is"),
        *("\\frac{", "}{", "}", "\\times", "\\(", "**", "//", "<think>", "</think>", "<answer>", "</answer>"),
        *("²", "٣", "İ", "\x00", "$"),
    ]
)


@given(st.lists(ALPHABET | st.text(max_size=3), max_size=60).map("".join), st.sampled_from(["", "<think>"]))
@example("3*5+(7 = 22", "")
@example("((3=5)=7)=", "")
def test_any_text_gives_true_attempts(text: str, prefill: str) -> None:
    end = 0
    for attempt in find(text, prefill=prefill):
        assert end <= attempt.start < attempt.end <= len(text)
        assert text[attempt.start : attempt.end] == attempt.text
        end = attempt.end
        if not attempt.complete:
            assert not attempt.right
            continue
        assert attempt.expression is not None
        tree = expressions.parse(attempt.expression)
        assert expressions.numbers_used(tree) == {3: 1, 5: 1, 7: 1}
        assert attempt.right == (attempt.value == "22")
        if attempt.value is not None:
            assert str(expressions.evaluate(tree)) == attempt.value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("(" * 10_000 + "3*5+7" + ")" * 10_000, id="10,000 brackets"),
        pytest.param("(" * 300_000, id="brackets never closed"),
        pytest.param(")" * 300_000, id="brackets never opened"),
        pytest.param("=" * 300_000, id="equals signs"),
        pytest.param("3+5=" * 80_000, id="an equation without end"),
        pytest.param("3 + 5 = 8, " * 30_000, id="steps without end"),
        pytest.param("3*5+7=22 " * 30_000, id="attempts without end"),
        pytest.param("(3=" * 100_000, id="open equations"),
        pytest.param("9" * 300_000, id="a long number"),
        pytest.param("1." * 150_000, id="dots"),
        pytest.param("\n" * 300_000, id="line breaks"),
        pytest.param("3+\n" * 100_000, id="going on"),
        pytest.param("\\frac{" * 50_000, id="open fractions"),
        pytest.param("\\frac{3}{5}" * 30_000, id="fractions"),
        pytest.param("<answer>" * 40_000, id="answers"),
        pytest.param("<think>" * 40_000, id="thinks"),
        pytest.param(", which is" * 30_000, id="words"),
        pytest.param("-\t" * 150_000, id="bullets"),
        pytest.param("".join(random.Random(3).choices("0123456789+-*/()=,. \n", k=1_000_000)), id="1 MB of arithmetic"),
        pytest.param("".join(map(chr, random.Random(4).choices(range(1, 0x3000), k=1_000_000))), id="1 MB of garbage"),
    ],
)
def test_hostile_text_is_bounded(text: str) -> None:
    started = time.monotonic()
    for numbers in ([3, 5, 7], [3] * 6):
        find(text, numbers)
    assert time.monotonic() - started < 60  # seconds; a quadratic walk takes hours


def test_ambiguous_chains_are_bounded() -> None:
    started = time.monotonic()
    find("3 + 3 = 3 , " * 20_000, [3] * 12)
    assert time.monotonic() - started < 60


def test_nothing_is_read_from_disk_or_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("model text must never be evaluated")

    monkeypatch.setattr("builtins.eval", forbidden)
    monkeypatch.setattr("builtins.exec", forbidden)
    assert brief(find("__import__('os').system('x') 3*5+7 = 22 9**9**9")) == [HIT]
