"""Guards: what is wrong with a run while it runs, seen in the lines that it logs.

`GUARDS` is the table: what is looked at, when it rings, what is done then, and what a person may try. The values come
from metrics.jsonl, so a resumed run knows what the uninterrupted one would.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from r1rl.ground.errors import RecipeError, check_known

ACTIONS: Final = ("off", "warn", "stop", "roll_back")
MOST_ROLLBACKS: Final = 2
ALL: Final = "all"
_CERTAIN: Final = 8.0  # standard errors: of thousands of windows the best is compared with the worst
_Z95: Final = 1.96


@dataclass
class Watch:
    """What a guard has seen.

    Args:
        values: of the last `window` lines that had one.
        samples: behind each value.
        best: highest mean of a whole window, or the highest value where single ones are compared.
        rings: whether the condition holds, so that it is said once.
    """

    guard: Guard
    samples: float = math.inf
    values: deque[float] = field(default_factory=deque)
    best: float = -math.inf
    rings: bool = False

    def __post_init__(self) -> None:
        self.values = deque(maxlen=self.guard.window)

    @property
    def is_full(self) -> bool:
        """Whether a whole window has been seen."""
        return len(self.values) == self.guard.window

    @property
    def mean(self) -> float:
        """Of the window."""
        return sum(self.values) / len(self.values)

    def sees(self, value: float) -> bool:
        """Take a value; whether the guard begins to ring."""
        self.values.append(value)
        before, self.rings = self.rings, self.guard.condition(self)
        seen = value if self.guard.condition is fallen else self.mean
        if (self.is_full or self.guard.condition is fallen) and math.isfinite(seen):
            self.best = max(self.best, seen)
        return self.rings and not before


def not_finite(watch: Watch) -> bool:
    """The last value is no number."""
    return not math.isfinite(watch.values[-1])


def at_least(watch: Watch) -> bool:
    """Every value of the window is at the limit or above."""
    return watch.is_full and min(watch.values) >= watch.guard.limit


def mean_at_least(watch: Watch) -> bool:
    """The window's mean is at the limit or above."""
    return watch.is_full and watch.mean >= watch.guard.limit


def at_most(watch: Watch) -> bool:
    """Every value of the window is at the limit or below."""
    return watch.is_full and max(watch.values) <= watch.guard.limit


def lost(watch: Watch) -> bool:
    """The window's mean is at most this part of the best window's, and that is no chance."""
    if not watch.is_full or watch.best <= 0 or not watch.mean <= watch.guard.limit * watch.best:
        return False
    return watch.best - watch.mean >= _CERTAIN * _error(watch, watch.best, watch.mean)


def fallen(watch: Watch) -> bool:
    """Every value of the window is below the best one before by more than so many intervals of their difference."""
    if not watch.is_full or not math.isfinite(watch.best):
        return False
    return all(
        watch.best - value > watch.guard.limit * _Z95 * _error(watch, watch.best, value) for value in watch.values
    )


def _error(watch: Watch, one: float, other: float) -> float:
    """The standard error of the difference of two shares, each of a window's samples, with one success and miss more.

    A group's rollouts are much alike, so a sample is a prompt.
    """
    size = watch.samples * (1 if watch.guard.condition is fallen else watch.guard.window)
    if math.isinf(size):
        return 0.0
    shares = [(share * size + 1) / (size + 2) for share in (one, other)]
    return math.sqrt(sum(share * (1 - share) / size for share in shares))


@dataclass(frozen=True)
class Guard:
    """A row of the table.

    Args:
        metrics: the keys of metrics.jsonl that are looked at, each by itself.
        condition: of what it has seen, whether it rings.
        window: logged steps (or evaluations) that it looks at together.
        limit: what the condition compares with.
        action: `off`, `warn`, `stop` or `roll_back`, unless the recipe says otherwise.
        says: what is wrong, with `{value}` and `{best}`.
        tries: what a person may do about it.
        groups: enlarges the window until it holds so many prompts.
    """

    name: str
    metrics: tuple[str, ...]
    condition: Callable[[Watch], bool]
    window: int
    limit: float
    action: str
    says: str
    tries: str
    groups: int = 0


GUARDS: Final = (
    Guard(
        "non_finite", ("loss", "grad_norm", "reward", "weights"), not_finite, 1, 0, "stop",
        "{metric} is {value}: a number is lost for good",
        "a lower learning_rate, max_grad_norm: 1.0, or float32 (bf16: false)",
    ),
    Guard(
        "no_variance", ("frac_reward_zero_std",), at_least, 20, 1.0, "stop",
        "in {window} steps no group of rollouts was paid differently, so nothing is learned",
        "harder problems where all are right, easier ones where all are wrong, or dynamic_sampling",
        groups=60,
    ),
    Guard(
        "format_lost", ("answered",), lost, 5, 0.1, "stop",
        "the share of rollouts with an answer that can be read fell from {best:.1%} to {mean:.1%}",
        "a lower learning_rate, beta: 0.001, or a reward for the format",
    ),
    Guard(
        "accuracy_lost", ("task_accuracy",), lost, 10, 0.1, "stop",
        "task accuracy fell from {best:.1%} to {mean:.1%}",
        "a lower learning_rate, max_grad_norm, or beta: 0.001",
    ),
    Guard(
        "truncation", ("completions/clipped_ratio",), mean_at_least, 10, 0.9, "warn",
        "{mean:.1%} of the completions are cut at max_completion_length, for {window} steps",
        "a larger max_completion_length, or a reward that prices length (soft-overlong)",
    ),
    Guard(
        "entropy", ("entropy",), at_most, 10, 0.002, "warn",
        "the entropy is {value:.2g} nats a token: the policy writes one text for each prompt, and explores no more",
        "epsilon_high: 0.28, a higher temperature, or a lower learning_rate",
    ),
    Guard(
        "repetition", ("completions/repetition",), at_least, 5, 0.8, "warn",
        "{value:.1%} of the completions' runs of four tokens repeat an earlier one",
        "the reward repetition, a lower max_completion_length, or a lower learning_rate",
    ),
    Guard(
        "kl", ("kl",), at_least, 3, 10.0, "warn",
        "the KL divergence from the reference is {value:.3g} nats a token",
        "a lower learning_rate, a larger beta, or sync_ref_model",
    ),
    Guard(
        "sampler_gap", ("sampling/logp_gap",), at_least, 3, 0.5, "warn",
        "the sampler is {value:.3g} nats a token from the policy: what is trained on is not its own",
        "sampling_dtype: float32; with vLLM, look whether it gets the new weights",
    ),
    Guard(
        "heldout_fallen", ("heldout/accuracy",), fallen, 2, 1.0, "warn",
        "held-out accuracy is {value:.1%} after a best of {best:.1%}, more than chance allows",
        "the best checkpoint (it is kept), a lower learning_rate, or more training problems",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Alarm:
    """A guard that began to ring."""

    guard: Guard
    metric: str
    value: float
    message: str


def chosen(settings: Mapping[str, Any], prompts_per_step: int = 10**9) -> list[Guard]:
    """The guards as a recipe's `guards` has them, those that are off left out.

    Args:
        settings: an action, or `{action, limit, window}`, by guard; `all` is for every guard that is not named.

    Raises:
        RecipeError: an unknown guard, action or setting.
    """
    table = {guard.name: guard for guard in GUARDS}
    check_known(settings, [*table, ALL], " in guards", prefix="guards.")
    found = []
    for name, guard in table.items():
        needed = -(-guard.groups // prompts_per_step)
        changed = replace(guard, window=max(guard.window, needed))
        for key in (ALL, name):
            if key in settings:
                changed = _with(changed, key, settings[key])
        if changed.action != "off":
            found.append(changed)
    return found


def _with(guard: Guard, key: str, setting: Any) -> Guard:
    given = {"action": setting} if isinstance(setting, str | bool) else setting
    if not isinstance(given, Mapping):
        raise RecipeError(f"guards.{key}={setting!r}: need one of {', '.join(ACTIONS)}, or action, limit and window")
    check_known(given, ("action", "limit", "window"), f" in guards.{key}", prefix=f"guards.{key}.")
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if values.get("action") is False:  # YAML's off
        values["action"] = "off"
    if values.get("action", "off") not in ACTIONS:
        raise RecipeError(f"guards.{key}.action={values['action']!r}: need one of {', '.join(ACTIONS)}")
    window, limit = values.get("window", 1), values.get("limit", 0)
    if not isinstance(window, int) or isinstance(window, bool) or window < 1:
        raise RecipeError(f"guards.{key}.window={window!r}: need a number of steps from 1")
    if not isinstance(limit, int | float) or isinstance(limit, bool) or not math.isfinite(limit):
        raise RecipeError(f"guards.{key}.limit={limit!r}: need a number")
    return replace(guard, **values)


class Guards:
    """All guards of a run, fed with its log lines.

    Args:
        table: those that are on, see `chosen`.
        prompts: distinct prompts of a step.
        heldout: held-out problems.
    """

    def __init__(self, table: list[Guard], *, prompts: int, heldout: int) -> None:
        self.watches = [
            (metric, Watch(guard, heldout if guard.condition is fallen else prompts))
            for guard in table
            for metric in guard.metrics
        ]

    def sees(self, line: Mapping[str, Any]) -> list[Alarm]:
        """Take a line; the guards that begin to ring."""
        line = dict(line) | _answered(line)
        alarms = []
        for metric, watch in self.watches:
            value = line.get(metric)
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue
            best = watch.best
            if watch.sees(float(value)):
                guard = watch.guard
                shown = {"metric": metric, "value": value, "best": best, "mean": watch.mean, "window": guard.window}
                message = f"{guard.name}: {guard.says.format(**shown)}; try {guard.tries}"
                alarms.append(Alarm(guard, metric, float(value), message))
        return alarms


def _answered(line: Mapping[str, Any]) -> dict[str, float]:
    """The share of rollouts whose answer could be read; cut ones are not among them."""
    unread = [line.get(f"verdicts/{name}") for name in ("no_answer", "unparseable", "truncated")]
    return {} if None in unread else {"answered": 1 - sum(value for value in unread if value is not None)}
