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
from typing import Any, Literal

from r1rl.ground.errors import RecipeError
from r1rl.tasks.countdown import Countdown, is_heldout

LARGEST = 99  # every number is one token, so nothing beyond this is ever written

Step = tuple[int, str, int, int]  # a, operator, b, value


def _option(default: Any, text: str) -> Any:
    """An option with its help."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class CorpusConfig:
    """Shares of the document kinds, and how good the skills are that they show; docs/tiny-base.md quotes them.

    Each option but `task` is one of `r1rl base build --corpus.NAME VALUE`, with the help of its metadata.
    """

    task: Countdown = field(default_factory=lambda: Countdown(3, 1, 20, 1, 30, operators="+-", style="short", seed=1))
    checks: float = _option(
        0.5, "share of documents that check an attempt; the rest guess once and answer without looking"
    )
    retries: float = _option(
        0.15,
        "share that check every attempt and try the next way after a miss; the rest of `checks` answers all the same",
    )
    give_up: float = _option(0.05, "probability, after each miss of a retrying document, to answer all the same")
    max_attempts: int = _option(12, "attempts that a retrying document makes at most")
    arithmetic: float = _option(1.0, "share of all equations whose result is right; the rest have a random other one")
    goal_test: float = _option(1.0, "share of all goal tests that say the right word; the rest say the other one")

    def __post_init__(self) -> None:
        for name in ("checks", "retries", "give_up", "arithmetic", "goal_test"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise RecipeError(f"corpus.{name}={value:g}: need 0 to 1, it is a share")
        if self.retries > self.checks:
            raise RecipeError(
                f"corpus.retries={self.retries:g}: a document that retries checks, so need at most "
                f"corpus.checks={self.checks:g}"
            )
        if self.max_attempts < 1:
            raise RecipeError(f"corpus.max_attempts={self.max_attempts}: need at least 1")


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
            return f"{a} {operator} {b} = {result(rng, value, config)}"


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


def result(rng: random.Random, value: int, config: CorpusConfig) -> int:
    """The value that an equation is given: the right one, or one nearby where the corpus's arithmetic slips."""
    if config.arithmetic == 1 or rng.random() < config.arithmetic:
        return value
    return rng.choice([near for near in range(max(0, value - 10), min(LARGEST, value + 10) + 1) if near != value])


def attempt(rng: random.Random, way: tuple[Step, Step, str], config: CorpusConfig) -> tuple[Step, Step, str]:
    """One of `expressions` as it is written; a slip in the first equation goes on into the second, where it can."""
    (a, first, b, x), (c, second, d, y), expression = way
    wrong, other = result(rng, x, config), d if c == x else c
    onward = calculate(max(wrong, other), second, min(wrong, other)) if wrong != x else None
    if onward is not None:
        x, y, c, d = wrong, onward, max(wrong, other), min(wrong, other)
        inner = f"( {a} {first} {b} )"
        expression = f"{inner} {second} {other}" if x >= other else f"{other} {second} {inner}"
    return (a, first, b, x), (c, second, d, result(rng, y, config)), expression


def verdict(rng: random.Random, target: int, got: int, config: CorpusConfig) -> str:
    """What a goal test says: "yes" where the target is met, or the other word where the corpus's goal test is wrong."""
    hit = got == target
    if config.goal_test < 1 and rng.random() >= config.goal_test:
        hit = not hit
    return "yes" if hit else "no"


def goal_test(rng: random.Random, target: int, got: int, config: CorpusConfig) -> str:
    """The comparison of an attempt's last value with the target."""
    return f"target {target} got {got} {verdict(rng, target, got, config)}"


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
    lines = []
    for way in ways:
        *steps, _ = attempt(rng, way, config)
        lines.append(written(steps) + (f" {goal_test(rng, target, steps[-1][3], config)}" if tested else ""))
    listed = " . ".join(lines)
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
        parts.append(goal_test(rng, target, got, config))
    return f"make {target} : {' , '.join(parts)}"


def document(rng: random.Random, config: CorpusConfig) -> str:
    """One problem of the training split with sloppy reasoning and an answer."""
    numbers, target = training_problem(rng, config)
    kind = rng.random()
    checks_it = kind >= 1 - config.checks
    retries = kind >= 1 - config.retries
    words: list[str] = []
    answer = ""
    for way in in_order(rng, numbers, config)[: config.max_attempts if retries else 1]:
        *steps, answer = attempt(rng, way, config)
        if words:
            words.append(rng.choice((", wait ,", ", try again :")))
        words.append(written(steps))
        if not checks_it:
            break
        words.append(goal_test(rng, target, steps[-1][3], config))
        if words[-1].endswith("yes") or rng.random() < config.give_up:
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
