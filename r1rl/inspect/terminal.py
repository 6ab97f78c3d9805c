"""A run in a terminal: figures with intervals, what they allow to be said, and three rollouts.

Model text is never read as rich markup: it enters as `rich.text.Text`, with control characters escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from r1rl.aha.figures import terminal as aha
from r1rl.inspect.run_data import Rollout, RunData, load, numbers
from r1rl.inspect.samples import (
    Drawn,
    Pair,
    before_and_after,
    choose,
    choose_randomly,
    ending,
    middle,
    pieces,
    shown,
    visible,
)
from r1rl.inspect.summary import DETECTORS, duration, figures, reach, summarise, table_rows
from r1rl.run import budget

LONGEST_COMPLETION = 1200
LONGEST_PROMPT = 240
_BLOCKS = "▁▂▃▄▅▆▇█"


def print_summary(run: Path | str | RunData, console: Console) -> None:
    """Print a run's figures, reward over steps, sample rollouts, and the conclusion of `r1rl aha`.

    Raises:
        ValueError: as `run_data.load`.
    """
    data = run if isinstance(run, RunData) else load(run)
    summary = summarise(data)
    console.print(_facts(data, summary), highlight=False)
    console.print(aha.table(data.steps, table_rows(data), console.width))
    console.print(_detectors(data), highlight=False)
    if summary["outcomes"]["last"]:
        console.print(_unpaid(summary), highlight=False)
    for change in _changes(data):
        console.print(change, highlight=False)
    for sentence in summary["warnings"]:
        console.print(Text(sentence, style="bold yellow"))
    line = _reward_line(data, width=max(20, min(80, console.width - 30)))
    if line is not None:
        console.print()
        console.print(line)
    if (pair := before_and_after(data)) is not None:
        console.print()
        _print_pair(pair, console)
    chosen = choose(data)
    if not any(drawn.count for drawn in chosen):  # such as rollouts that nobody judged
        chosen = [choose_randomly(data, count=2)]
    for drawn in chosen:
        console.print()
        _print_drawn(drawn, data, console)
    console.print()
    aha.print_conclusion(data.measured, console)


def _detectors(data: RunData) -> Text:
    """What finds the attempts and markers, the figures that rest on it, and how well it finds them."""
    lines = [Text("precision and recall of the detectors, with 95 % intervals", style="dim")]
    for detector in DETECTORS:
        resting = [row.figure.label for row in figures(data) if row.figure.detector == detector]
        told = "; ".join(f"{where} {reached}" for where, reached in reach(data, detector))
        lines.append(Text.assemble("  ", detector, (f" ({', '.join(resting)})", "dim"), f": {told}"))
    lines += [Text(f"  {line}") for line in data.measured.hidden]
    return Text("\n").join(lines)


def _changes(data: RunData) -> list[Text]:
    """The settings that changed, a line for each key, and the steps at which the reference was refreshed."""
    told: dict[str, list[str]] = {}
    for event in data.events:
        if event.get("event") == "setting":
            key, value, before = (visible(middle(str(event.get(name)), 40)) for name in ("key", "value", "before"))
            told.setdefault(key, [before]).append(f"{value} from step {visible(str(event.get('step')))} on")
        elif event.get("event") == "reference_refreshed":
            told.setdefault("reference", ["refreshed"]).append(f"step {visible(str(event.get('step')))}")
    return [Text.assemble((f"{key}  ", "dim"), middle(", ".join(steps), 400)) for key, steps in told.items()]


def _unpaid(summary: dict[str, Any]) -> Text:
    """Why rollouts were not right, at the first and the last step where there are two."""
    ends = []
    for end in ("first", "last") if summary["first_step"] != summary["last_step"] else ("last",):
        shares = sorted(summary["outcomes"][end].items(), key=lambda pair: -pair[1])
        told = [f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares if share and name != "correct"]
        ends.append(f"step {summary[f'{end}_step']}: {', '.join(told) or 'none'}")
    return Text.assemble(("not right  ", "dim"), " · ".join(ends))


def _facts(data: RunData, summary: dict[str, Any]) -> Text:
    wall = summary["wall_seconds"]
    parts = [
        str(summary["task"]),
        str(summary["model"] or "model unknown"),
        f"{summary['steps']} updates",
        f"{summary['rollouts']:,} training rollouts",
    ]
    if summary["heldout_prompts"]:
        parts.append(f"{summary['heldout_prompts']} held-out prompts")
    if wall is not None:
        parts.append(duration(wall))
    if (spent := budget.shown(data.path, data.recipe.get("price"))) is not None:
        parts.append(spent)
    parts.append(data.measured.selection.words)
    return Text.assemble(("run ", "dim"), (visible(summary["run"]), "bold"), "  ", visible(" · ".join(parts)))


def _reward_line(data: RunData, width: int) -> Text | None:
    logged = [(line["step"], value) for line in data.metrics for value in numbers([line.get("reward")])]
    points = [(step, value) for step, value in logged if value is not None]
    if len(points) < 2:
        return None
    values = [value for _, value in points]
    return Text.assemble(
        ("reward ", "dim"), f"{min(values):.2f} ", sparkline(values, width), f" {max(values):.2f}",
        (f"  steps {points[0][0]}–{points[-1][0]}", "dim"),
    )  # fmt: skip


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` blocks between the smallest and the largest; each is the mean of its share of the values."""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(_BLOCKS[round((m - low) / span * (len(_BLOCKS) - 1)) if span else 0] for m in means)


def _print_drawn(drawn: Drawn, data: RunData, console: Console) -> None:
    how = "drawn at random among them" if drawn.count else "none to show"
    which = "training" if data.training_only else "held-out"
    rule = f"{drawn.count} of {drawn.total} {which} rollouts at step {data.steps[-1]}: {drawn.rule}; {how}"
    console.print(Text.assemble((drawn.name, "bold"), "  ", (rule, "dim")))
    for rollout in drawn.rollouts:
        row = rollout.row
        facts = Text(style="dim")
        facts.append(visible(ending(row["prompt"], LONGEST_PROMPT).replace("\n", " ")))
        facts.append(
            f"\ngold {visible(row['gold'])} · verdict {(rollout.outcome or 'none').replace('_', ' ')}", style="default"
        )
        if row["verdict_reason"]:
            facts.append(f" ({visible(middle(row['verdict_reason'], 120))})")
        console.print(Padding(facts, (0, 0, 0, 2)))
        console.print(Padding(marked(rollout), (0, 0, 0, 2)))


def _print_pair(pair: Pair, console: Console) -> None:
    """The same sample of a prompt before the first update and after the last one."""
    rule = f"{pair.count} of {pair.total} held-out samples were wrong before and are right after; one drawn at random"
    console.print(Text.assemble(("before and after", "bold"), "  ", (rule, "dim")))
    prompt = visible(ending(pair.before.row["prompt"], LONGEST_PROMPT).replace("\n", " "))
    console.print(Padding(Text(prompt, style="dim"), (0, 0, 0, 2)))
    for rollout in (pair.before, pair.after):
        told = Text.assemble((f"step {rollout.step}  ", "bold"), marked(rollout))
        console.print(Padding(told, (0, 0, 0, 2)))


def marked(rollout: Rollout, longest: int = LONGEST_COMPLETION) -> Text:
    """The completion with its attempts coloured and closed by ✓ or ✗, and its markers underlined."""
    text = Text()
    for piece in pieces(rollout.row["completion"], rollout.attempts, rollout.markers, longest):
        if piece.left_out:
            text.append(f" … {piece.left_out:,} characters left out … ", style="dim italic")
            continue
        right = piece.attempt is not None and rollout.attempts[piece.attempt].right
        style = "" if piece.attempt is None else "green" if right else "red"
        if piece.marker is not None:
            style += " bold underline yellow" if piece.attempt is None else " bold underline"
        for stretch, is_escape in shown(piece.text):
            text.append(stretch, style="reverse dim" if is_escape else style)
        if piece.closes:
            text.append(" ✓" if right else " ✗", style="bold green" if right else "bold red")
    return text
