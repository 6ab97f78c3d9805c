"""How unsure the model is where a reflection begins, and whether making it reflect helps where it is unsure.

D'Aliberti and Horta Ribeiro (arXiv 2601.00514) find that shifts in a model's reasoning are rare and seldom help, that
what they are worth depends on the model's uncertainty (Shannon entropy of its next-token distributions), and that
triggering a reconsideration where entropy is high raises accuracy; they compare the most uncertain fifth with the rest.

Where ours departs: they average the entropy over a whole answer and ask a second time; here it is that of single
tokens, at temperature 1, and the words are injected in the middle of the first answer. `entropy_before` is the entropy
of the distribution that the last token before a boundary came from, `entropy_at` that of what may come next. Boundaries
at which the model reflected are compared with plain ones of the same rollouts. A word is injected at every plain
boundary drawn, and left out there, and the boundaries are split afterwards: above the 80th percentile of their
`entropy_before`, and the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from r1rl.aha.counterfactual import continuations
from r1rl.aha.counterfactual.arms import injected, leading_on
from r1rl.aha.counterfactual.boundaries import Cut, cuts
from r1rl.aha.counterfactual.continuations import Branch
from r1rl.aha.counterfactual.ratios import Cell, Figure, Measured, Ratios
from r1rl.aha.counterfactual.settings import CONTINUED, Settings, continued
from r1rl.aha.counterfactual.writers import Row, Writer
from r1rl.aha.detect.annotation import annotate
from r1rl.rollout.sampling import row_key

QUANTILE: Final = 0.8
LABELS: Final = ("effective", "confirmatory", "harmful", "idle")
SCHEMA: Final = pa.schema([
    *CONTINUED,
    *pa.schema({"entropy_before": pa.float64(), "entropy_at": pa.float64(), "label": pa.string()}),
])  # fmt: skip
ABOUT: Final = "An injected word is not the model's own reflection, and entropy says nothing of why it is high."


@dataclass(frozen=True, slots=True)
class Spot:
    """A boundary in a rollout; `label` is what became of the reflection that begins there, None at a plain one."""

    number: int
    row: Row
    cut: Cut
    label: str | None


def chosen(rows: Sequence[Row], settings: Settings) -> list[Spot]:
    """At most `settings.points` boundaries at which a rollout reflects, and as many plain ones, by rollout."""
    found: dict[bool, list[tuple[int, Spot]]] = {True: [], False: []}
    for row in rows:
        mine, plain = cuts(row["completion"], row.get("prefill") or "", settings.lexicon)
        labels = {one["start"]: one["label"] for one in annotate(row)["markers"] or []} if mine else {}
        for cut, reflects in [*((cut, True) for cut in mine), *((cut, False) for cut in plain)]:
            key = row_key(settings.seed, "entropy", row["prompt_id"], row["sample_idx"], cut.before)
            label = next((labels[at] for at in sorted(labels) if at >= cut.at), "idle") if reflects else None
            found[reflects].append((key, Spot(0, row, cut, label)))
    drawn = [spot for part in found.values() for _, spot in sorted(part, key=lambda one: one[0])[: settings.points]]
    drawn.sort(key=lambda spot: (spot.row["prompt_id"], spot.row["sample_idx"], spot.cut.before))
    return [replace(spot, number=number) for number, spot in enumerate(drawn)]


def asked(writer: Writer, items: Sequence[Spot], rows: Sequence[Row], settings: Settings) -> list[dict[str, Any]]:
    """A row a boundary, and one for each continuation, with the boundary's entropies."""
    entropies = _entropies(writer, items)
    word = injected(writer.tokens, settings.inject)
    branches: list[Branch] = []
    found: list[dict[str, Any]] = []
    for spot in items:
        kept = writer.tokens.until(spot.row["token_ids"], spot.cut.before)
        blank = Branch(spot.row, "plain" if spot.label is None else "marker", spot.number, 0, (), len(kept), 0)
        found.append(_bare(blank) | entropies[spot.number] | {"label": spot.label})
        if spot.label is None:
            branches += _branches(writer, spot, word, settings.samples)
    done = continuations.sample(writer, branches, seed=settings.seed, lexicon=settings.lexicon)
    return found + [continued(one, settings.lexicon) | entropies[one.branch.point] for one in done]


def _entropies(writer: Writer, items: Sequence[Spot]) -> dict[int, dict[str, float | None]]:
    of_row: dict[tuple[Any, Any], list[Spot]] = defaultdict(list)
    for spot in items:
        of_row[spot.row["prompt_id"], spot.row["sample_idx"]].append(spot)
    found: dict[int, dict[str, float | None]] = {}
    for spots in of_row.values():
        row = spots[0].row
        head = writer.prompt(row["prompt"])
        places = [len(head) + len(writer.tokens.until(row["token_ids"], spot.cut.before)) for spot in spots]
        values = writer.entropies([*head, *row["token_ids"]], [at - back for at in places for back in (1, 0)])
        for spot, at, before, there in zip(spots, places, values[::2], values[1::2], strict=True):
            found[spot.number] = {"entropy_before": before if at > len(head) else None, "entropy_at": there}
    return found


def _branches(writer: Writer, spot: Spot, word: str, samples: int) -> Iterable[Branch]:
    ids = writer.tokens.until(spot.row["token_ids"], spot.cut.at)
    for arm, text in (("inject", word), ("no_inject", "")):
        added = writer.tokens.added(ids, leading_on(text, spot.row["completion"][: spot.cut.at]) if text else "")
        room = int(spot.row["cap"]) - len(ids) - len(added)
        if room > 0:
            yield from (
                Branch(spot.row, arm, spot.number, sample, (*ids, *added), len(ids), room) for sample in range(samples)
            )


def _bare(branch: Branch) -> dict[str, Any]:
    return {
        "arm": branch.arm,
        "point": branch.point,
        "prompt_id": branch.row["prompt_id"],
        "source_sample_idx": branch.row["sample_idx"],
        "kept_tokens": branch.kept,
        "verdict": branch.row["verdict"],
    }


def figures(runs: Sequence[str], step: int, rows_of_runs: Sequence[Sequence[Mapping[str, Any]]]) -> Measured:
    """Entropy where the model reflects and elsewhere, by what became of it; the worth of a word by entropy."""
    limits = [threshold(rows) for rows in rows_of_runs]
    ratios = Ratios([_columns(rows, limit) for rows, limit in zip(rows_of_runs, limits, strict=True)])
    nats: dict[str, Any] = {"unit": "number"}
    found: dict[str, Figure] = {}
    for place, said in (("before", "of the token before"), ("at", "of what comes next")):
        found |= {
            f"{place}_markers": ratios.figure(f"entropy {said}: a reflection", f"marker_{place}", **nats),
            f"{place}_plain": ratios.figure("   a plain boundary", f"plain_{place}", **nats),
            f"{place}_beyond_plain": ratios.difference("   beyond that", f"marker_{place}", f"plain_{place}", **nats),
        }
    for label in LABELS:
        found[f"before_{label}"] = ratios.figure(f"   token before one that is {label}", f"{label}_before", **nats)
    for part in ("high", "low"):
        shown = "most unsure fifth" if part == "high" else "the others"
        found[f"inject_{part}"] = ratios.figure(f"right with a word injected, {shown}", f"inject_{part}")
        found[f"no_inject_{part}"] = ratios.figure("   without it", f"no_inject_{part}")
        found[f"gain_{part}"] = ratios.difference("   gain", f"inject_{part}", f"no_inject_{part}")
    both = {f"{arm}_{part}" for arm in ("inject", "no_inject") for part in ("high", "low")}
    if both <= set(ratios.names):
        found["gain_beyond_low"] = ratios.figure(
            "gain where unsure, beyond the others'",
            "inject_high",
            lambda r: (r["inject_high"] - r["no_inject_high"]) - (r["inject_low"] - r["no_inject_low"]),
            change=True,
        )
    continuing = [row for rows in rows_of_runs for row in rows if row["arm"].endswith("inject")]
    notes = {
        "threshold_nats": limits if len(limits) > 1 else limits[0],
        "continuations": len(continuing),
        "parsed": _share(row["verdict"] != "unparseable" for row in continuing),
    }
    return Measured("entropy", tuple(runs), step, ratios.prompts, found, notes)


def threshold(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The 80th percentile of `entropy_before` over the plain boundaries; None without one."""
    values = [row["entropy_before"] for row in rows if row["arm"] == "plain" and row["entropy_before"] is not None]
    return float(np.quantile(values, QUANTILE)) if values else None


def _columns(rows: Sequence[Mapping[str, Any]], limit: float | None) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = defaultdict(list)
    for row in rows:
        prompt, before = row["prompt_id"], row["entropy_before"]
        if row["arm"] in ("marker", "plain"):
            for place in ("before", "at"):
                if (value := row[f"entropy_{place}"]) is not None:
                    found[f"{row['arm']}_{place}"].append((prompt, value, 1))
            if row["label"] is not None and before is not None:
                found[f"{row['label']}_before"].append((prompt, before, 1))
        elif before is not None and limit is not None and row["verdict"] != "bad_gold":
            part = "high" if before > limit else "low"
            found[f"{row['arm']}_{part}"].append((prompt, row["verdict"] == "correct", 1))
    return found


def _share(held: Iterable[bool]) -> float | None:
    every = list(held)
    return sum(every) / len(every) if every else None
