"""Who goes on from inside a rollout: a model in memory (`local`) or one behind an address (`remote`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from r1rl.aha.counterfactual.tokens import Cuts, Token
from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import row_key

Row = Mapping[str, Any]


class Writer(Protocol):
    """A policy that samples, and says how likely it finds a text. A text is given as tokens, its prompt included.

    Attributes:
        tokens: its tokens.
        extraction: where its answers stand, a policy of `r1rl.verify.extraction`.
    """

    tokens: Cuts
    extraction: str

    def prompt(self, text: str) -> list[Token]:
        """The tokens of a whole prompt."""

    def ends(self, token: Token) -> bool:
        """Whether a token ends a completion."""

    def write(self, before: list[list[Token]], keys: list[int], rooms: list[int]) -> list[Completion]:
        """A sampled continuation of each text, of at most `rooms` tokens; `keys` decide the draws."""

    def next_tokens(self, before: list[list[Token]], keys: list[int], banned: list[set[Token]]) -> list[Token | None]:
        """One token behind each text, none of those banned there; None where only banned ones are known."""

    def entropies(self, text: list[Token], places: Sequence[int]) -> list[float]:
        """Entropy, in nats and at temperature 1, of what may stand at each of these places of a text."""

    def logprobs(self, before: list[list[Token]], wanted: list[list[Token]]) -> list[float]:
        """The log-probability, at temperature 1, that each text goes on with the tokens wanted."""


def sources(
    rows: Sequence[Row], tokens: Cuts | None, *, most: int, seed: int, longest: int | None = None
) -> list[dict[str, Any]]:
    """At most `most` rollouts to go on from, by prompt and sample, their `token_ids` those of the writer.

    A rollout that the writer's tokens cannot spell is left out. Other tools' rollouts may not say how long one may
    get: the cap is then the longest of them.

    Args:
        tokens: the writer's; None where it wrote them, so that their ids are its own.
        longest: tokens that the writer can read and write together; a longer rollout is left out.
    """
    drawn = sorted(rows, key=lambda row: row_key(seed, "source", row["prompt_id"], row["sample_idx"]))[:most]
    found = []
    for row in sorted(drawn, key=lambda row: (row["prompt_id"], row["sample_idx"])):
        ids = row["token_ids"] if tokens is None else tokens.of(row["completion"] or "")
        if not ids or (tokens is not None and tokens.text(ids) != row["completion"]):
            continue
        room = None if longest is None or tokens is None else longest - len(tokens.of(row["prompt"])) - 1
        if room is None or len(ids) <= room:
            found.append({**row, "token_ids": list(ids), "prefill": row["prefill"] or "", "room": room})
    cap = max((len(row["token_ids"]) for row in found), default=0)
    return [row | {"cap": min(row["cap"] or cap, row["room"] or row["cap"] or cap)} for row in found]
