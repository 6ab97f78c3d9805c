"""The corruption test on Countdown: one claimed value is falsified, and the policy goes on from there.

A true "… = 9" of a hit is made another number, that of a miss is made the target. The policy's next goal test then
follows either the number that is written ("fooled") or the true value of the expression ("noticed"); writing the
attempt down again with its true value is noticing too. The same continuation of the unchanged text is the baseline:
how often a goal test there follows the truth.
Source: adding mistakes to a chain of thought, Lanham et al. (arXiv 2307.13702).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from r1rl.aha.counterfactual import continuations
from r1rl.aha.counterfactual.continuations import Branch, Continued
from r1rl.aha.counterfactual.settings import CONTINUED, Settings, continued
from r1rl.aha.counterfactual.tokens import Cuts
from r1rl.aha.counterfactual.writers import Row, Writer
from r1rl.aha.detect.annotation import annotate
from r1rl.rollout.sampling import row_key

ARMS: Final = ("intact", "corrupted")
SCHEMA: Final = pa.schema([
    *CONTINUED,
    # The true value is the target; what the next goal test says, null without one.
    *pa.schema({"hits": pa.bool_(), "value": pa.int64(), "written": pa.int64(), "said": pa.bool_(),
                "recomputed": pa.bool_()}),
])  # fmt: skip
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}(?![0-9.,/]*[0-9])")
_OFFSETS: Final = (1, -1, 2, -2, 3, -3)


@dataclass(frozen=True, slots=True)
class Claim:
    """A complete attempt with its true value written behind it: `completion[start:end]` is that number.

    `hits`: the value is the target; `written` is what it is changed into.
    """

    number: int
    row: Row
    attempt_start: int
    start: int
    end: int
    hits: bool
    value: int
    written: int


def claims(rows: Sequence[Row], *, most: int, seed: int) -> list[Claim]:
    """At most `most` claims, one a rollout, half of them hits where there are enough; the same for the same seed."""
    found: dict[bool, list[tuple[int, Claim]]] = {True: [], False: []}
    for row in rows:
        if not row["token_ids"]:
            continue
        mine = _claims_of(row, seed)
        if mine:
            key, claim = min(mine, key=lambda one: one[0])
            found[claim.hits].append((key, claim))
    for part in found.values():
        part.sort(key=lambda one: one[0])
    hits, misses = ([claim for _, claim in found[side]] for side in (True, False))
    of_hits = min(len(hits), max(most // 2, most - len(misses)))
    chosen = [*hits[:of_hits], *misses[: most - of_hits]]
    return [replace(claim, number=number) for number, claim in enumerate(chosen)]


def _claims_of(row: Row, seed: int) -> list[tuple[int, Claim]]:
    text = row["completion"]
    found = []
    for attempt in annotate(row)["attempts"] or []:
        if attempt["status"] != "complete" or attempt["slip"] or attempt["repeat"] or attempt["claimed"] is None:
            continue
        numbers = list(_NUMBER.finditer(text, attempt["start"], attempt["end"]))
        last = numbers[-1] if numbers else None
        if last is None or last[0] != attempt["claimed"] or last[0] != attempt["value"]:
            continue
        key = row_key(seed, "claim", row["prompt_id"], row["sample_idx"], last.start())
        value = int(last[0])
        try:
            target = int(str(row["gold"]))
        except ValueError:
            continue
        # Away from zero and up or down by chance, so that no direction gives the change away.
        other = next(value + step for step in _OFFSETS[key % 2 :] if value + step > 0)
        claim = Claim(0, row, attempt["start"], last.start(), last.end(), attempt["right"], value,
                      other if attempt["right"] else target)  # fmt: skip
        found.append((key, claim))
    return found


def branches(claim: Claim, tokens: Cuts, samples: int) -> list[Branch]:
    """Both arms of a claim; none where the text up to the number does not end with a token."""
    row = claim.row
    kept = tokens.until(row["token_ids"], claim.start)
    if tokens.text(kept).rstrip() != row["completion"][: claim.start].rstrip():
        return []
    found = []
    for arm, number in (("intact", claim.value), ("corrupted", claim.written)):
        ids = (*kept, *tokens.added(kept, str(number)))
        room = int(row["cap"]) - len(ids)
        if room > 0:
            found += [Branch(row, arm, claim.number, sample, ids, len(kept), room) for sample in range(samples)]
    return found


def outcome(claim: Claim, done: Continued) -> dict[str, Any]:
    """What the continuation made of the written number.

    `said`: whether its first goal test of the attempt says that it hits, None without one; `recomputed`: it writes
    the attempt down again with its true value before it tries another.
    """
    row: dict[str, Any] = {**claim.row, "completion": done.completion, "n_tokens": None, "verdict": None}
    found = annotate(row)
    attempts = found["attempts"] or []
    index = next((i for i, one in enumerate(attempts) if one["start"] == claim.attempt_start), None)
    said = recomputed = None
    if index is not None:
        said = next((test["says"] for test in found["goal_tests"] or [] if test["attempt"] == index), None)
        after = attempts[index + 1] if index + 1 < len(attempts) else None
        recomputed = bool(after and after["repeat"] and not after["slip"] and after["claimed"] is not None)
    return {"hits": claim.hits, "value": claim.value, "written": claim.written, "said": said, "recomputed": recomputed}


def noticed(row: Mapping[str, Any]) -> bool | None:
    """Whether a row with `outcome`'s columns goes by the true value; None where it does not say."""
    if row["recomputed"]:
        return True
    return None if row["said"] is None else bool(row["said"] == row["hits"])


def chosen(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    """The claims of a step."""
    return claims(rows, most=settings.points, seed=settings.seed)


def asked(writer: Writer, items: Sequence[Claim], rows: Sequence[Row], settings: Settings) -> list[dict[str, Any]]:
    """Both arms of some claims, sampled."""
    pairs = [(one, branch) for one in items for branch in branches(one, writer.tokens, settings.samples)]
    done = continuations.sample(writer, [b for _, b in pairs], seed=settings.seed, lexicon=settings.lexicon)
    return [continued(one, settings.lexicon) | outcome(claim, one) for (claim, _), one in zip(pairs, done, strict=True)]
