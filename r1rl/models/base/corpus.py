"""What the tiny base model reads before reinforcement learning starts.

Three drills and sloppy documents, all generated, none of it about a held-out problem:

- *facts*: the equations that the task can ask for;
- *workings*: the ways to combine three given numbers in two steps, each number once, no result twice, as a plain list;
  half of the lists name a target and test every result against it, and go on whatever a test says;
- *checks*: the goal test, "target 22 got 15 no";
- *documents*: attempts at Countdown problems. Most guess once and stop, some of them with a check and even after
  a "no"; few notice a miss and try again. The first guess is random and nobody aims; another attempt takes the next
  of the few ways to combine the numbers.

So the skills that retrying stands on (arithmetic, using the numbers, the goal test) are taught here, and retrying is
shown but rare: *when* to use it is what reinforcement learning has to discover.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from r1rl.tasks.countdown import Countdown, is_heldout

LARGEST = 99  # every number is one token, so nothing beyond this is ever written

Step = tuple[int, str, int, int]  # a, operator, b, value


@dataclass(frozen=True)
class CorpusConfig:
    """Shares of the document kinds; the README quotes them.

    Args:
        task: the Countdown options whose training split the documents are about.
        unchecked: share of documents that guess once and answer without looking.
        checked: share that guess once, check, and answer whatever the check said.
            The rest check every attempt and try again after a miss, until a hit or until `give_up`.
        give_up: probability, after each miss of a retrying document, to stop and answer all the same.
        max_attempts: attempts a retrying document makes at most.
    """

    task: Countdown = field(default_factory=lambda: Countdown(3, 1, 20, 1, 30, operators="+-", style="short", seed=1))
    unchecked: float = 0.5
    checked: float = 0.35
    give_up: float = 0.05
    max_attempts: int = 12


def calculate(a: int, operator: str, b: int) -> int | None:
    """`a operator b` when it stays within 0..LARGEST, else None."""
    value = a + b if operator == "+" else a - b if operator == "-" else a * b
    return value if 0 <= value <= LARGEST else None


@functools.cache
def expressions(numbers: tuple[int, ...], operators: str) -> list[tuple[Step, Step, str]]:
    """One way to every result of three numbers in two steps, larger operand first: the steps and the expression.

    Of several ways the first counts, which begins with the first two numbers where it can. To know that another way
    leads to the same result takes arithmetic in advance, and a model this small then tries failed results again.
    """
    found: dict[int, tuple[Step, Step, str]] = {}
    for i, j, k in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        a, b, c = max(numbers[i], numbers[j]), min(numbers[i], numbers[j]), numbers[k]
        for first, second in itertools.product(operators, operators):
            x = calculate(a, first, b)
            if x is None:
                continue
            y = calculate(max(x, c), second, min(x, c))
            if y is None:
                continue
            inner = f"( {a} {first} {b} )"
            text = f"{inner} {second} {c}" if x >= c else f"{c} {second} {inner}"
            found.setdefault(y, ((a, first, b, x), (max(x, c), second, min(x, c), y), text))
    return list(found.values())


def largest_intermediate(task: Countdown) -> int:
    """The largest value that two of the given numbers can make."""
    return min(LARGEST, task.high**2 if "*" in task.operators else 2 * task.high)


def fact(rng: random.Random, config: CorpusConfig) -> str:
    """One true equation: half of them as problems ask for them, half spread evenly over all that they can ask."""
    while True:
        if rng.random() < 0.5:
            low, high = config.task.low, config.task.high
            numbers = tuple(rng.randint(low, high) for _ in range(config.task.numbers))
            first, second, _ = rng.choice(expressions(numbers, config.task.operators))
            a, operator, b, _ = second if rng.random() < 0.6 else first
        else:
            operator = rng.choice(config.task.operators)
            b = rng.randint(0, config.task.high)
            a = rng.randint(0, LARGEST // max(b, 1) if operator == "*" else largest_intermediate(config.task))
            a, b = max(a, b), min(a, b)
        value = calculate(a, operator, b)
        if value is not None:
            return f"{a} {operator} {b} = {value}"


def training_problem(rng: random.Random, config: CorpusConfig) -> tuple[list[int], int]:
    """Numbers and target of a problem that is not held out."""
    while True:
        drawn = config.task.problem(rng)
        if drawn is not None and not is_heldout(*drawn):
            return drawn


def in_order(rng: random.Random, numbers: Sequence[int], config: CorpusConfig) -> list[tuple[Step, Step, str]]:
    """All of `expressions`, in their own order from a random one on, round to the one before it.

    So the first attempt is a random guess, and what comes next is told by the attempt before. In random order a model
    this small has to compare with every earlier attempt: it did not learn to, and tried failed results again.
    """
    found = expressions(tuple(numbers), config.task.operators)
    start = rng.randrange(len(found))
    return found[start:] + found[:start]


def written(steps: Sequence[Step]) -> str:
    """The equations of an attempt."""
    return " , ".join(f"{a} {operator} {b} = {value}" for a, operator, b, value in steps)


def goal_test(target: int, steps: Sequence[Step]) -> str:
    """The comparison of an attempt's last value with the target."""
    value = steps[-1][3]
    return f"target {target} got {value} {'yes' if value == target else 'no'}"


def workings(rng: random.Random, config: CorpusConfig) -> str:
    """Up to ten two-step combinations of three numbers, no two of the same result.

    Half of the lists name a target and test every result against it; they go on whatever a test says.
    """
    tested = rng.random() < 0.5
    if tested:
        numbers, target = training_problem(rng, config)
    else:
        numbers, target = [rng.randint(config.task.low, config.task.high) for _ in range(config.task.numbers)], 0
    ways = in_order(rng, numbers, config)[:10]
    listed = " . ".join(f"{written(steps)}{f' {goal_test(target, steps)}' * tested}" for *steps, _ in ways)
    return f"Use {', '.join(map(str, numbers))}{f' to make {target}' * tested} : {listed}"


def checks(rng: random.Random, config: CorpusConfig) -> str:
    """Twelve goal tests of one target, each true as often as not; misses are near misses half of the time."""
    target = rng.randint(config.task.target_low, config.task.target_high)
    parts = []
    for _ in range(12):
        got = target
        if rng.random() < 0.5:
            while got == target:
                near = rng.random() < 0.5
                got = min(LARGEST, max(0, target + rng.randint(-10, 10))) if near else rng.randint(0, LARGEST)
        parts.append(f"target {target} got {got} {'yes' if got == target else 'no'}")
    return f"make {target} : {' , '.join(parts)}"


def document(rng: random.Random, config: CorpusConfig) -> str:
    """One problem of the training split with sloppy reasoning and an answer."""
    numbers, target = training_problem(rng, config)
    kind = rng.random()
    checks_it = kind >= config.unchecked
    retries = kind >= config.unchecked + config.checked
    words: list[str] = []
    answer = ""
    for *steps, expression in in_order(rng, numbers, config)[: config.max_attempts if retries else 1]:
        answer = expression
        if words:
            words.append(rng.choice((", wait ,", ", try again :")))
        words.append(written(steps))
        if not checks_it:
            break
        words.append(goal_test(target, steps))
        if steps[-1][3] == target or rng.random() < config.give_up:
            break
    reasoning = " ".join(words)
    return f"{config.task.question(numbers, target)} <think> {reasoning} </think> <answer> {answer} </answer>"


Kind = Literal["facts", "workings", "checks", "document"]


def texts(rng: random.Random, config: CorpusConfig, shares: dict[Kind, float]) -> Iterator[tuple[Kind, str]]:
    """An endless stream of (kind, text); `shares` are probabilities of the drills, documents get the rest."""
    write: dict[Kind, Callable[[], str]] = {
        "facts": lambda: " , ".join(fact(rng, config) for _ in range(8)),
        "workings": lambda: workings(rng, config),
        "checks": lambda: checks(rng, config),
        "document": lambda: document(rng, config),
    }
    kinds: list[Kind] = [*shares, "document"]
    weights = [*shares.values(), 1 - sum(shares.values())]
    while True:
        kind = rng.choices(kinds, weights)[0]
        yield kind, write[kind]()
