"""Hostile completions: none hangs, none crashes, none is paid, and no other item's verdict changes."""

import os
import random
import signal
import threading
import time

import pytest

import rewards
from r1rl.verify import math
from r1rl.verify.pool import GraderPool, Limits
from rewards.accuracy import reward_of

GOLD = "12"
LIMITS = Limits(item_seconds=1.0, batch_seconds=2.5)
MEGABYTE = 1 << 20


def box(text):
    return f"<think>so</think> <answer>{text}</answer>"


def _nested():
    wrappers = [("(", ")"), ("[", "]"), ("{", "}"), (r"\frac{1}{", "}"), (r"\sqrt{", "}"), ("2^{", "}")]
    wrappers += [(r"\left(", r"\right)"), (r"\boxed{", "}"), (r"\text{", "}"), ("-", ""), (r"\sin(", ")"), ("|", "|")]
    for opening, closing in wrappers:
        for depth in (18, 60, 10_000):
            yield box(opening * depth + "13" + closing * depth)
        yield box(opening * 15)


def _huge_numbers():
    powers = ["9^9", "9^{9^9}", "9^{9999}", "(9^{9999})^{9999}", "((9^{9999})^{9999})^{9999}", "9**9**9", "2^{-9999}"]
    powers += [
        r"\exp(\exp(\exp(99)))",
        "e^{9999}",
        r"(1+10^{-9})^{9999}",
        r"\pi^{\pi^{\pi}}",
        "0.1^{9999}",
        "9^{0.5^{-99}}",
    ]
    factorials = ["999!", "(999!)!", "99999!", "999!^{999}", "3!!!!!!", r"\frac{999!}{998!}", r"\binom{9999}{4999}"]
    functions = [r"\sum_{n=1}^{99999} \frac{1}{n^n}", r"\prod_{n=1}^{9999} n", r"\int_0^1 \sin(\sin(\sin(x))) dx"]
    functions += [r"\lim_{x \to 0} x^{x^x}", r"\sqrt[999]{2}", r"\log_{2}(9^{9999})", r"\gamma(9999)", r"999999 \mod 7"]
    for text in [*powers, *factorials, *functions]:
        yield from (box(text), box(f"13 + 0 \\cdot {text}"))


def _slow_algebra():
    for n in (6, 12):
        terms = [rf"\sin({k}x)^{{{k}}}" for k in range(1, n)]
        yield box("+".join(terms))
        yield box("".join(f"(x+{k}y+z)^{{99}}" for k in range(1, n)))
        yield box("".join(rf"\sqrt{{x+{k}+\sqrt{{{k}}}}}" for k in range(1, n)))
        yield box("+".join(rf"\sqrt{{{1000 + 37 * k}}}" for k in range(1, n)) + "-13")
        yield box(r"\frac{" + "+".join(rf"\cos({k})^{{99}}" for k in range(1, n)) + r"}{\tan(1)-\tan(1.0)}")
        yield box(r"\begin{pmatrix}" + r"\\".join("&".join("ab" * 4) for _ in range(n)) + r"\end{pmatrix}^{9999}")
        yield box(",".join(str(k) for k in range(13, 13 + n * 5)))
        yield box(r"\{" + ",".join(rf"\sqrt{{{k}}}" for k in range(13, 13 + n)) + r"\}")
        yield box(r"\left(" * 6 + "x+1" + r"\right)^{99}" * 6)


def _megabytes():
    for piece in [
        "1",
        "12 ",
        "(",
        "{",
        r"\frac{1}{2}",
        r"\boxed{12}",
        "\\",
        "^",
        "$",
        "<answer>",
        "</answer>",
        "\x00",
        "é",
    ]:
        text = piece * (MEGABYTE // len(piece))
        yield from (text, box(text), text + box("13"))


def _odd_characters():
    odd = [
        "\x00",
        "\ud800",
        "\udfff",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\u200b",
        "\u200d",
        "\x1b[31m",
        "\x7f",
        "\u0661\u0662",
    ]
    odd += ["\uff11\uff12", "\u00b9\u00b2", "\u2460", "\U0001d7cf\U0001d7d0", "\ue000", "\u2028", "\u0085", "\u0301"]
    for char in odd:
        yield from (box(f"1{char}2"), box(char), box(f"13{char}"), box(f"13 {char} {GOLD}"))
    yield box("\u05d0\u05d1 13 \u202b21\u202c")


def _tags():
    inner = ["<answer>", "</answer>", "<think>", "<answer>12</answer>", "</answer><answer>12", "<<answer>>", "</think>"]
    for tag in inner:
        yield from (box(f"13{tag}"), box(f"{tag}13"), tag * 3000 + box("13"), box("13") + tag * 3000)
    yield from ("12", "<answer>12", "12</answer>", "</answer>12<answer>", "<ANSWER>12</ANSWER>", "<answer >12</answer>")
    yield from (box(""), box(" \n"), box("13") + box(GOLD), box(GOLD) + box("13"), "<answer/>12", "&lt;answer&gt;12")
    for count in (2, 3000):
        yield from (box(r"\boxed{12}" * count), r"\boxed{12}" * count, box(r"\boxed{13}" * count + r"\boxed{12}"))
    yield from (box(r"\boxed{12} \boxed{13}"), box(r"\boxed{13}, 12"), box("12 or 13"), box("12, 13"), box("12 13"))
    yield from (
        box("12}{"),
        box(r"13} \boxed{12"),
        box("$12$ $13$"),
        box(r"\text{12} 13"),
        box("x=12 or x=13"),
        box("=12="),
    )


def _injections(canary):
    codes = [f"__import__('os').system('touch {canary}')", f"open('{canary}','w')", f"exec(\"open('{canary}','w')\")"]
    codes += [
        "(lambda: 12)()",
        "().__class__.__base__.__subclasses__()",
        "S('12')",
        "sympify('12')",
        "Integer(12)",
        "eval('12')",
    ]
    codes += [
        "exit()",
        "1 if 1 else 13",
        "[12][0]",
        "print(12)",
        "12;import os",
        "os._exit(0)",
        "{12}.pop()",
        "globals()",
    ]
    codes += [
        rf"\input{{{canary}}}",
        rf"\write18{{touch {canary}}}",
        r"\def\x{12}\x",
        r"\csname 12\endcsname",
        r"\catcode`\$=0",
    ]
    for code in codes:
        for template in ("{}", "${}$", r"\text{{{}}}", r"\boxed{{{}}}", "13 + {}", r"\operatorname{{{}}}"):
            yield box(template.format(code))


def corpus(canary):
    """Hostile completions by kind, none of which answers 12."""
    kinds = {
        "nested": _nested(),
        "huge numbers": _huge_numbers(),
        "slow algebra": _slow_algebra(),
        "megabytes": _megabytes(),
        "odd characters": _odd_characters(),
        "tags": _tags(),
        "injections": _injections(canary),
    }
    return [(kind, text) for kind, texts in kinds.items() for text in texts]


BENIGN = [
    *((box(f"{n}"), str(n), 1.0) for n in range(10)),
    *((box(f"{n}"), str(n + 1), 0.0) for n in range(10)),
    *((box(f"x+{n}"), f"{n}+x", 1.0) for n in range(2, 22)),
    *((box(f"x+{n}"), f"{n + 1}+x", 0.0) for n in range(2, 22)),
    *((box(rf"\sqrt{{{n}}}"), rf"{n}^{{1/2}}", 1.0) for n in range(2, 12)),
    *((box(str(n)), r"\frac{n}{", None) for n in range(5)),
]
"""Completion, gold and reward of items that must not notice their neighbours."""


def mixed(canary):
    """Completions, golds and expected rewards, benign ones spread among the hostile."""
    rows = [(text, GOLD, 0.0) for _, text in corpus(canary)]
    rows += BENIGN
    random.Random(0).shuffle(rows)
    return rows


@pytest.fixture
def pool(monkeypatch):
    """A fresh pool of two workers behind the math verifier."""
    fresh = GraderPool("r1rl.verify.math.judge:compare", name="math", workers=2, limits=LIMITS)
    monkeypatch.setattr(math, "_pool", fresh)
    yield fresh
    fresh.close()


def judge(rows):
    verdicts = rewards.get("accuracy").verdicts(
        [text for text, _, _ in rows],
        gold=[gold for _, gold, _ in rows],
        meta=["{}"] * len(rows),
        verifier=["math"] * len(rows),
    )
    for (text, gold, expected), verdict in zip(rows, verdicts, strict=True):
        assert reward_of(verdict) == expected, f"{text[:100]!a} for {gold}: {verdict}"
        assert len(verdict.reason) <= 200
    return verdicts


def test_the_corpus_is_large():
    kinds = [kind for kind, _ in corpus("/nowhere/c")]
    assert len(kinds) >= 300
    assert all(kinds.count(kind) >= 18 for kind in kinds)


def test_benign_items_are_judged_as_expected_on_their_own(pool):
    judge(BENIGN)


def test_no_hostile_completion_is_paid_or_touches_another(pool, tmp_path):
    judge(mixed(tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_the_same_while_random_workers_are_killed(pool, tmp_path, monkeypatch):
    # On a busy machine an item may meet two of the kills by chance, which would make it a timeout (test_pool.py).
    kills = 60
    monkeypatch.setattr("r1rl.verify.pool._MAX_DEATHS", kills + 1)
    done, killed, dice = threading.Event(), [], random.Random(1)

    def kill():
        while len(killed) < kills and not done.wait(0.05):
            if pids := pool.pids:
                killed.append(dice.choice(pids))
                try:
                    os.kill(killed[-1], signal.SIGKILL)
                except ProcessLookupError:
                    killed.pop()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        judge(mixed(tmp_path / "c"))
    finally:
        done.set()
        thread.join()
    assert killed
    assert not (tmp_path / "c").exists()


def test_the_workers_are_safe_without_the_cheap_rejections(pool, tmp_path):
    """The first line may have holes: the raw answers go straight to the processes."""
    answers = [text.removeprefix("<think>so</think> ")[8:-9][:400] for _, text in corpus(tmp_path / "c")][::10]
    items = [(answer, f"x_{number}") for number, answer in enumerate(answers)]
    benign = [(f"y+{number}", f"{number}+y") for number in range(2, 40)]
    verdicts = pool.verify_many([*items, *benign])
    assert [verdict.status for verdict in verdicts[len(items) :]] == ["correct"] * len(benign)
    assert not any(verdict.status == "correct" for verdict in verdicts[: len(items)])
    assert not (tmp_path / "c").exists()


def test_every_slow_item_is_answered_within_its_limit_plus_a_second(pool):
    pool.verify_many([("1", "1")])
    slow = [box(rf"((9^{{{9990 + number}}})^{{9999}})^{{9999}}") for number in range(2)]
    for text in slow:
        started = time.monotonic()
        (verdict,) = judge([(text, GOLD, 0.0)])
        assert verdict.status in ("timeout", "wrong")
        assert time.monotonic() - started < LIMITS.item_seconds + 1.0
