"""What the figures of a run allow to be said, in words.

Emergence is claimed only from attempts that were checked one by one, never from words such as "wait": most of
those only confirm. "It did not emerge" and "it was there at step 0" are results like any other.
"""

from __future__ import annotations

from typing import Any

PRESENT = 0.01
"""A share of rollouts from here on counts as "there" at step 0."""


def direction(figure: dict[str, float | None]) -> str | None:
    """`up`, `down` or `unclear` (the difference's interval holds zero); None where there is no interval."""
    low, high = figure["ci_low"], figure["ci_high"]
    if low is None or high is None or figure["first"] is None or figure["last"] is None:
        return None
    return "up" if low > 0 else "down" if high < 0 else "unclear"


def reading(figure: dict[str, float | None]) -> str:
    """The figure's change in a word or three."""
    without = "cannot be computed" if figure["diff"] is None else "no interval"
    return {"up": "rose", "down": "fell", "unclear": "no clear change"}.get(direction(figure) or "", without)


def conclude(summary: dict[str, Any]) -> list[str]:
    """One sentence or two each on learning, self-correction, markers, and what the figures do not show."""
    if "train_accuracy" in summary:
        return [_training(summary)]
    if summary["first_step"] == summary["last_step"]:
        return [f"One probe so far (step {summary['first_step']}): nothing to compare it with yet."]
    return [_learning(summary), _correction(summary), *_markers(summary), _limits(summary)]


def _training(summary: dict[str, Any]) -> str:
    told = [
        f"{name} {percent(figure['first'])} → {percent(figure['last'])}"
        for name, key in (("accuracy", "train_accuracy"), ("wrong → right", "wrong_to_right"))
        if (figure := summary[key])["last"] is not None
    ]
    return (
        f"Training rollouts, without held-out prompts: {', '.join(told) or 'no answer was judged'}. Each step has "
        "other prompts, so no change is tested here; `r1rl aha RUN --kind train` has more figures."
    )


def _learning(summary: dict[str, Any]) -> str:
    greedy, sampled = summary["heldout_accuracy_greedy"], summary["heldout_accuracy_sampled"]
    name, figure = ("sampled", sampled) if direction(sampled) is not None else ("greedy", greedy)
    way = direction(figure)
    if way is None:
        return "Held-out accuracy cannot be compared: too few held-out prompts with a usable gold answer."
    moved = f"{percent(figure['first'])} → {percent(figure['last'])}"
    if way == "up":
        return f"Held-out accuracy ({name}) rose, {moved}."
    if way == "down":
        return f"Held-out accuracy ({name}) fell, {moved}."
    return f"Held-out accuracy ({name}) shows no clear change, {moved}: the interval holds zero."


def _correction(summary: dict[str, Any]) -> str:
    corrected, retried = summary["wrong_to_right"], summary["retry_after_miss"]
    way = direction(corrected)
    if corrected["last"] is None:
        return (
            "Self-verification: not measured. Attempts cannot be detected for this task, "
            "so nothing can be said about checking and correcting."
        )
    if way is None:
        return "Self-verification: too few held-out prompts for an interval, nothing can be said about a change."
    start = f"step {summary['first_step']}"
    moved = f"{percent(corrected['first'])} → {percent(corrected['last'])} of held-out rollouts"
    there = corrected["first"] >= PRESENT
    retry = {
        "up": "retrying after a miss rose as well",
        "down": "although retrying after a miss became rarer",
        "unclear": "retrying after a miss shows no clear change",
        None: "retrying after a miss cannot be compared, for want of wrong first attempts",
    }[direction(retried)]
    if direction(retried) is not None:
        retry += f" ({percent(retried['first'])} → {percent(retried['last'])})"
    if way == "up":
        head = f"Self-correction was there at {start} and rose" if there else "Self-correction emerged"
        return f"{head}: going from a wrong to a right attempt, {moved}; {retry}."
    if way == "down":
        return f"Self-correction was there at {start} and fell: wrong → right {moved}; {retry}."
    if there:
        return f"Self-correction was there at {start} and shows no clear change: wrong → right {moved}; {retry}."
    if corrected["first"] == corrected["last"] == 0:
        # A bootstrap of nothing but zeros has no width, which is no proof of absence.
        return f"Self-correction did not emerge: no held-out rollout went from a wrong to a right attempt; {retry}."
    return f"Self-correction did not emerge: wrong → right {moved}, the interval holds zero; {retry}."


def _markers(summary: dict[str, Any]) -> list[str]:
    markers, length = direction(summary["marker_rate"]), direction(summary["mean_length"])
    if markers != "up":
        return []
    figure = summary["marker_rate"]
    text = f"Markers rose ({percent(figure['first'])} → {percent(figure['last'])})"
    if direction(summary["wrong_to_right"]) != "up":
        text += " while corrections did not: a rise of keywords alone is not self-verification."
    elif length == "up" and direction(summary["marker_per_1k_tokens"]) != "up":
        text += ", but so did length, and their density did not: longer text is likelier to hold a marker."
    else:
        text += ", which by itself would prove nothing."
    return [text]


def _limits(summary: dict[str, Any]) -> str:
    seed = "" if summary["seed"] is None else f", seed {summary['seed']}"
    text = f"One run{seed}; 95 % intervals over {summary['heldout_prompts']} prompts, each figure by itself."
    if direction(summary["wrong_to_right"]) is not None:
        text += " Whether a retry beats an independent second draw is not tested here."
    return text


def percent(value: float | None) -> str:
    """`0.256` -> `25.6 %`; None -> `–`."""
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value: float | None, unit: str, *, signed: bool = False) -> str:
    """A figure for readers: a share in percent (`signed`: a difference, in points), else one decimal."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{100 * value:+.1f}" if signed else percent(value)
    return f"{value:+.1f}" if signed else f"{value:.1f}"


def duration(seconds: float) -> str:
    """`3725` -> `1 h 2 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
