"""The arms of a counterfactual: what reflecting is worth, found by sampling on from where a rollout reflects.

Rollouts that a held-out evaluation sampled from a policy are cut, and that same policy goes on, in several arms:

- `answer_before` (A): the answer is forced where the clause of a marker begins;
- `answer_after` (B): the answer is forced where that reflection ends;
- `banned` (C): the rollout goes on before the marker and may write no marker of the lexicon;
- `free` (D): it goes on there freely;
- `inject` (E): a word such as "Wait," is put at a plain boundary that matches the marker's: behind the same word (of
  the same prompt's rollouts, else of another's), else at the end of a sentence or of the reasoning, and about as deep;
  `no_inject` goes on there without it;
- `placebo_…`: A to D at a random plain boundary of the same prompt's rollouts, with a stretch without markers.

B - A is the worth of the text of a reflection, D - C that of being free to reflect; the placebo's differences are what
any stretch of reasoning would do. A banned marker's first token is taken out of the distribution at that place, and
the rollout is sampled on from there.
Sources: forcing an answer early, Lanham et al. (arXiv 2307.13702); appending "Wait", Muennighoff et al. (2501.19393).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from r1rl.aha.counterfactual import continuations
from r1rl.aha.counterfactual.boundaries import Cut, cuts
from r1rl.aha.counterfactual.continuations import Branch
from r1rl.aha.counterfactual.settings import CONTINUED, Settings, continued
from r1rl.aha.counterfactual.tokens import Cuts
from r1rl.aha.counterfactual.writers import Row, Writer
from r1rl.rollout.sampling import row_key

ARMS: Final[Mapping[str, str]] = {
    "answer_before": "A  answer forced before the marker",
    "answer_after": "B  answer forced after the reflection",
    "banned": "C  goes on, markers banned",
    "free": "D  goes on freely",
    "inject": "E  word injected at a matched boundary",
    "no_inject": "   nothing injected there",
    "placebo_answer_before": "A  at a random boundary",
    "placebo_answer_after": "B  after a stretch without markers",
    "placebo_banned": "C  at a random boundary",
    "placebo_free": "D  at a random boundary",
}
FORCED: Final = frozenset(arm for arm in ARMS if "answer" in arm)
BANNED: Final = frozenset(arm for arm in ARMS if "banned" in arm)
SCHEMA: Final = CONTINUED
ANSWER_TOKENS: Final = 64
"""Cap of a forced answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cut in one of the source rollouts, which have their token ids."""

    row: Row
    cut: Cut


@dataclass(frozen=True, slots=True)
class Point:
    """A marker to reflect at or not, and the plain boundaries it is compared with; None where the prompt has none."""

    number: int
    marker: Place
    matched: Place | None
    random: Place | None


def points(rows: Sequence[Row], *, most: int, seed: int, lexicon: str = "strict") -> list[Point]:
    """At most `most` marker cuts of the rollouts, drawn without regard to prompt or order; the same for the same seed.

    A rollout without token ids, or cut so late that nothing of its cap is left, is no source.
    """
    at_markers: list[tuple[int, Place]] = []
    plain: dict[str, list[Place]] = defaultdict(list)
    for row in rows:
        if not row["token_ids"]:
            continue
        mine, others = cuts(row["completion"], row.get("prefill") or "", lexicon)
        for cut in mine:
            key = row_key(seed, "point", row["prompt_id"], row["sample_idx"], cut.at)
            at_markers.append((key, Place(row, cut)))
        plain[row["prompt_id"]] += [Place(row, cut) for cut in others]
    by_word: dict[str, list[Place]] = defaultdict(list)
    for place in (place for pool in plain.values() for place in pool):
        by_word[_last_word(place)].append(place)
    at_markers.sort(key=lambda one: one[0])
    found = []
    for number, (key, place) in enumerate(at_markers[:most]):
        # Of several that are alike, and among all for the placebo, one by chance.
        ranked = _shuffled(plain[place.row["prompt_id"]], key)
        random = next((other for other in ranked if other.cut.end > other.cut.at), None)
        alike = [other for other in ranked if _last_word(other) == _last_word(place)]
        alike = alike or _shuffled(by_word[_last_word(place)], key)
        matched = min(alike or ranked, key=lambda other: _unlike(place, other), default=None)
        found.append(Point(number, place, matched, random))
    return found


def _shuffled(places: Sequence[Place], key: int) -> list[Place]:
    return sorted(places, key=lambda one: row_key(key, one.row["prompt_id"], one.row["sample_idx"], one.cut.at))


def _unlike(marker: Place, other: Place) -> tuple[bool, int]:
    """How badly a plain boundary matches a marker's: inside a sentence, another depth."""
    text, end = other.row["completion"], other.cut.before
    whole = other.cut.at == other.cut.end or text[end - 1 : end] in (".", "!", "?") or "\n" in text[end : other.cut.at]
    return not whole, abs(end - marker.cut.before)


def _last_word(place: Place) -> str:
    words = place.row["completion"][max(0, place.cut.before - 40) : place.cut.before].split()
    return str(words[-1]).casefold() if words else ""


def forced_answer(rows: Iterable[Row], extraction: str) -> str:
    """What the rollouts most often write between reasoning and answer; where none does, by the extraction policy."""
    found: Counter[str] = Counter()
    for row in rows:
        text = row["completion"]
        end, opened = text.find("</think>"), text.find("<answer>")
        if 0 <= end < opened and not text[end + len("</think>") : opened].strip():
            start = len(text[:end].rstrip())
            if opened - start <= len("</think>") + 8:
                found[text[start : opened + len("<answer>")]] += 1
    if found and not extraction.startswith("boxed"):
        return found.most_common(1)[0][0]
    return {
        "answer-tag": " </think> <answer>",
        "boxed-in-answer": " </think> <answer> \\boxed{",
        "boxed": "\n\nThe final answer is \\boxed{",
    }.get(extraction, "\n\nThe final answer is ")


def branches(point: Point, tokens: Cuts, *, answer: str, inject: str, samples: int) -> list[Branch]:
    """Every continuation to be sampled at a point, `samples` an arm, but for arms whose boundary the prompt lacks.

    Args:
        answer: ends the reasoning and opens the answer.
        inject: begins to reflect.
    """
    found: list[Branch] = []

    def add(arm: str, place: Place, char: int, text: str = "", tokens_between: int = 0) -> None:
        row = place.row
        ids = tokens.until(row["token_ids"], char)
        added = tokens.added(ids, text)
        room = ANSWER_TOKENS if arm in FORCED else int(row["cap"]) - len(ids) - len(added)
        if room > 0:
            found.extend(
                Branch(row, arm, point.number, sample, (*ids, *added), len(ids), room, arm in BANNED, tokens_between)
                for sample in range(samples)
            )

    for prefix, place in (("", point.marker), ("placebo_", point.random)):
        if place is None:
            continue
        cut = place.cut
        stretch = len(tokens.until(place.row["token_ids"], cut.end)) - len(
            tokens.until(place.row["token_ids"], cut.before)
        )
        add(f"{prefix}answer_before", place, cut.before, answer, stretch)
        add(f"{prefix}answer_after", place, cut.end, answer, stretch)
        for arm in ("banned", "free"):
            add(prefix + arm, place, cut.before, "", stretch)
    if point.matched is not None:
        at = point.matched.cut.at
        add("inject", point.matched, at, leading_on(inject, point.matched.row["completion"][:at]))
        add("no_inject", point.matched, at)
    return found


def leading_on(inject: str, before: str) -> str:
    """The text to inject behind `before`; with a sign where nothing ends the clause before it."""
    if not before.rstrip()[-1:].isalnum():
        return inject
    return f"{',' if inject[0].islower() else '.'} {inject}"


def injected(tokens: Cuts, wanted: str | None = None) -> str:
    """The text to inject: as wanted, else the first of a few spellings of "wait" that the vocabulary has.

    Raises ValueError where there is none, or the one wanted has unknown tokens.
    """
    for text in [wanted] if wanted is not None else ["Wait,", "wait ,", "wait,"]:
        if text and tokens.knows(f" {text}"):
            return text
    shown = "'Wait,'" if wanted is None else repr(wanted[:80])
    raise ValueError(f"inject={shown}: not in the model's vocabulary; give --inject with words that the model writes")


def chosen(rows: Sequence[Row], settings: Settings) -> list[Point]:
    """The points of a step."""
    return points(rows, most=settings.points, seed=settings.seed, lexicon=settings.lexicon)


def asked(writer: Writer, items: Sequence[Point], rows: Sequence[Row], settings: Settings) -> list[dict[str, Any]]:
    """Every arm of some points, sampled."""
    answer = forced_answer(rows, writer.extraction) if settings.answer is None else settings.answer
    inject = injected(writer.tokens, settings.inject)
    every = [
        branch
        for one in items
        for branch in branches(one, writer.tokens, answer=answer, inject=inject, samples=settings.samples)
    ]
    done = continuations.sample(writer, every, seed=settings.seed, lexicon=settings.lexicon)
    return [continued(one, settings.lexicon) for one in done]
