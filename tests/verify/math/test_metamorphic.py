"""From any gold answer: what keeps the value is paid, what changes it is not.

Golds are made here; with R1RL_TEST_DATA, the folder of the problems, those of GSM8K, MATH-500 and AIME are taken too.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl.verify.math import Verdict, judge, judge_here

Change = Callable[[str, random.Random], str | None]
"""Another text for a gold answer, None where it does not apply."""

MADE = [
    "12", "-5", "0.75", "1000", "58,500", "10080", r"\frac{14}{3}", r"-\frac{1}{2}", r"3\sqrt{13}", r"\pi", r"288 \pi",
    "x^2+2x+1", "6r^2-4r-24", "p - q", "(x+3)(x-5)", "3R^2", r"\frac{11+9a}{20}", "5r^5", r"\cot x", "1,-2", "3, 5, 7",
    "(3,4]", r"(-\infty, 2) \cup (3, \infty)", r"\left( 3, \frac{\pi}{2} \right)", "(6,31,-1)", r"\{1\pm\sqrt{5},-2\}",
    r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}", "6 - 5i", r"90^\circ", r"\$18.90", r"5.4 \text{ cents}",
    r"864 \mbox{ inches}^2", "y = 2x + 3", "x=5", "5x - 7y + 11z + 4 = 0", r"x \in [-2,7]", r"\text{east}", "52_8",
    r"1 \pm \sqrt{19}", r"2^{200}", r"\frac{1}{2^{99}}", r"10^{-7}", r"6.02\times 10^{23}", r"2\pi rh", "mgh", "4ab",
    r"e^{x^2}", r"\binom{10}{3}", "10!", r"\frac{M}{m}", r"x < 3", "12:30", "3:7", r"\frac{nRT}{V}", r"\log_2 5",
    r"\sqrt[3]{7}", r"0.\overline{36}", r"1\frac{4}{5}", "45%", r"\lambda_1 + \mu", r"\sin 2x",
]  # fmt: skip


def golds() -> list[str]:
    """The made golds, and those of the data sets where they are."""
    found = dict.fromkeys(MADE)
    folder = os.environ.get("R1RL_TEST_DATA")
    for name in ("math500_test", "aime24_test", "gsm8k_test") if folder else ():
        for line in (Path(str(folder)) / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            found[str(json.loads(line)["answer"]).rpartition("####")[2].strip()] = None
    return list(found)


def is_number(gold: str) -> bool:
    return re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", gold) is not None


def is_integer(gold: str) -> bool:
    return re.fullmatch(r"-?[1-9][0-9]*", gold) is not None


def is_formula(gold: str) -> bool:
    """One value without a unit, a name or words."""
    return re.search(r"[,=<>:_%]|\\(?:text|mbox|begin|in|cup|pm|circ|\$)", gold) is None


def value_kept() -> dict[str, Change]:
    def wrapped(before: str, after: str) -> Change:
        return lambda gold, chance: before + gold + after

    def only(of: Callable[[str], bool], change: Callable[[str], str]) -> Change:
        return lambda gold, chance: change(gold) if of(gold) else None

    def replaced(pattern: str, by: str) -> Change:
        return lambda gold, chance: re.sub(pattern, by, gold) if re.search(pattern, gold) else None

    def shuffled(gold: str, chance: random.Random) -> str | None:
        parts = re.split(r",\s*", gold)
        if len(parts) < 2 or re.search(r"[(\[{]|[0-9],(\\!)? ?[0-9]{3}", gold):
            return None
        return ", ".join(parts[::-1])

    return {
        "box": wrapped(r"\boxed{", "}"),
        "dollars": wrapped("$", "$"),
        "display": wrapped(r"\[ ", r" \]"),
        "inline": wrapped(r"\( ", r" \)"),
        "bold": wrapped("**", "**"),
        "bold formula": wrapped("**$", "$**"),
        "code": wrapped("`", "`"),
        "full stop": wrapped("", "."),
        "blanks": wrapped("  ", "\n"),
        "announced": wrapped("The answer is ", "."),
        "announced in bold": wrapped("**Final answer:** $", "$"),
        "colour": wrapped(r"\color{blue}{", "}"),
        "display style": wrapped(r"\displaystyle ", ""),
        "dfrac": replaced(r"\\frac", r"\\dfrac"),
        "tfrac": replaced(r"\\d?frac", r"\\tfrac"),
        "sized brackets": replaced(r"^\(([^()]*)\)$", r"\\left(\1\\right)"),
        "thin spaces": replaced(r" ?([+=]) ?", r"\\,\1\\,"),
        "unicode minus": replaced("-", "\u2212"),
        "plain ratio": replaced(r"^(-?)\\d?frac\{(\d+)\}\{(\d+)\}$", r"\1\2/\3"),
        "decimal": only(is_integer, lambda gold: gold + ".0"),
        "thousands": only(is_integer, lambda gold: f"{int(gold):,}"),
        "LaTeX thousands": only(is_integer, lambda gold: f"{int(gold):,}".replace(",", "{,}")),
        "thin thousands": only(is_integer, lambda gold: f"{int(gold):,}".replace(",", r"\,")),
        "ratio": only(is_integer, lambda gold: rf"\frac{{{2 * int(gold)}}}{{2}}"),
        "power of ten": only(is_integer, lambda gold: rf"{gold}0\times 10^{{-1}}"),
        "e-notation": only(is_integer, lambda gold: f"{gold}e0"),
        "unit": only(is_number, lambda gold: rf"{gold} \text{{ cm}}"),
        "plain unit": only(is_number, lambda gold: f"{gold} miles"),
        "counted": only(is_number, lambda gold: f"{gold} apples"),
        "dollar": only(is_number, lambda gold: f"${gold}"),
        "named": only(lambda gold: is_number(gold) or gold.startswith("\\frac"), lambda gold: f"x = {gold}"),
        "chain": only(is_integer, lambda gold: f"n = {int(gold) - 3} + 3 = {gold}"),
        "sum": only(is_formula, lambda gold: f"{gold} + 0"),
        "product": only(is_formula, lambda gold: rf"1 \cdot ({gold})"),
        "quotient": only(is_formula, lambda gold: rf"\frac{{{gold}}}{{1}}"),
        "undone": only(is_formula, lambda gold: f"({gold}) - 7 + 7"),
        "doubled": only(is_formula, lambda gold: rf"\frac{{2({gold})}}{{2}}"),
        "any order": shuffled,
    }


WORDS = "lakh dozen hundred sixths tenths below wrong factorial root negative more less k M bn googol nan percentile"


def value_changed() -> dict[str, Change]:
    def digit(gold: str, chance: random.Random) -> str | None:
        places = [found.start() for found in re.finditer(r"[1-9]", gold)]
        if not places or re.search(r"pmod|\\mod", gold):
            return None
        at = chance.choice(places)
        return gold[:at] + str(int(gold[at]) % 9 + 1) + gold[at + 1 :]

    def case(gold: str, chance: random.Random) -> str | None:
        bare = re.sub(r"\\[A-Za-z]+(\{[a-zA-Z ]*\})?", lambda found: "\\" * len(found[0]), gold)
        places = [found.start() for found in re.finditer(r"(?<![A-Za-z])[a-df-hj-zA-Z](?![A-Za-z])", bare)]
        if not places or "=" in gold:
            return None
        at = chance.choice(places)
        return gold[:at] + gold[at].swapcase() + gold[at + 1 :]

    def only(of: Callable[[str], bool], change: Callable[[str], str]) -> Change:
        return lambda gold, chance: change(gold) if of(gold) else None

    def squared(gold: str) -> bool:
        return re.search(r"\^2(?![0-9])", gold) is not None

    def followed(of: Callable[[str], bool], form: str, by: list[str]) -> Change:
        return lambda gold, chance: gold + form.format(chance.choice(by)) if of(gold) and gold != "0" else None

    def reordered(gold: str, chance: random.Random) -> str | None:
        found = re.fullmatch(r"([(\[])([^()\[\]\\]*,[^()\[\]\\]*)([)\]])", gold)
        parts = found[2].split(",") if found else []
        return found[1] + ",".join(parts[::-1]) + found[3] if found and parts != parts[::-1] else None

    def bracket(gold: str, chance: random.Random) -> str | None:
        found = re.fullmatch(r"([(\[])([^()\[\]]*,[^()\[\]]*)([)\]])", gold)
        return {"(": "[", "[": "("}[found[1]] + found[2] + found[3] if found else None

    return {
        "digit": digit,
        "case": case,
        "order of a tuple": reordered,
        "bracket": bracket,
        "sign": only(lambda gold: is_formula(gold) and gold != "0", lambda gold: f"-({gold})"),
        "more": only(is_formula, lambda gold: f"({gold}) + 1"),
        "a little more": only(is_formula, lambda gold: rf"({gold})(1 + 10^{{-9}})" if gold != "0" else "1e-9"),
        "tenfold": only(lambda gold: is_formula(gold) and gold != "0", lambda gold: rf"10({gold})"),
        "power": only(squared, lambda gold: re.sub(r"\^2", "^3", gold, count=1)),
        "more values": lambda gold, chance: f"{gold}, 777, 778",
        "hedge": lambda gold, chance: rf"{gold} \text{{ or }} 777",
        "word": followed(is_number, " {}", WORDS.split()),
        "word in text": followed(is_formula, r"\text{{ {}}}", WORDS.split()),
        "variable": followed(is_number, "{}", list("xyab")),
        "prime": only(lambda gold: is_formula(gold), lambda gold: f"({gold})'"),
        "false chain": only(is_integer, lambda gold: f"x = {int(gold) + 1} = {gold}"),
        "denied": lambda gold, chance: f"The answer is not {gold}",
        "nothing": lambda gold, chance: "",
    }  # fmt: skip


def verdict(answer: str, gold: str) -> str:
    found = judge_here(answer, gold)
    return found.status if isinstance(found, Verdict) else judge.compare(*found).status


def pairs(changes: dict[str, Change], seed: int) -> Iterator[tuple[str, str, str]]:
    """The kind of change, the changed answer, the gold."""
    for gold in golds():
        for kind, change in changes.items():
            answer = change(gold, random.Random(f"{seed} {gold} {kind}"))
            if answer is not None and answer != gold:
                yield kind, answer, gold


def test_what_keeps_the_value_is_paid() -> None:
    tried, refused = Counter[str](), []
    for kind, answer, gold in pairs(value_kept(), seed=0):
        tried[kind] += 1
        if verdict(answer, gold) != "correct":
            refused.append((kind, answer, gold))
    assert sum(tried.values()) > 900
    assert len(refused) <= 0.02 * sum(tried.values()), refused[:20]


@pytest.mark.parametrize("seed", [0, 1])
def test_what_changes_the_value_is_never_paid(seed: int) -> None:
    tried, paid = Counter[str](), []
    for kind, answer, gold in pairs(value_changed(), seed):
        tried[kind] += 1
        if verdict(answer, gold) == "correct":
            paid.append((kind, answer, gold))
    assert sum(tried.values()) > 400
    assert all(tried[kind] for kind in value_changed())
    assert not paid


FRACTIONS = st.fractions(max_denominator=10**6).filter(bool)


@settings(max_examples=200)
@given(FRACTIONS, FRACTIONS)
def test_fractions_are_equal_exactly_when_they_are(left, right) -> None:
    wanted = rf"\frac{{{right.numerator}}}{{{right.denominator}}}"
    assert (verdict(f"{left.numerator}/{left.denominator}", wanted) == "correct") == (left == right)
    assert verdict(rf"\frac{{{2 * right.numerator}}}{{{2 * right.denominator}}}", wanted) == "correct"


@settings(max_examples=200)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=6), st.integers(0, 5), st.integers(1, 3))
def test_polynomials_differ_by_one_coefficient(coefficients, at, more) -> None:
    def text(numbers: list[int]) -> str:
        return "+".join(f"({number})x^{{{power}}}" for power, number in enumerate(numbers))

    others = list(coefficients)
    others[at % len(others)] += more
    horner = "0"
    for number in reversed(coefficients):
        horner = f"({horner})x+({number})"
    assert verdict(horner, text(coefficients)) == "correct"
    assert verdict(text(others), text(coefficients)) == "wrong"
