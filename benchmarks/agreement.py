"""The verdicts of stored samples beside two other graders': math-verify by its defaults, and lm-eval's for GSM8K.

`python -m benchmarks.agreement runs/eval-gsm8k-1/MODEL --to odd.jsonl`: how often each agrees, and every disagreement
for a reader to judge. Both read the whole completion, as they do by themselves; r1rl reads what stands where the answer
was asked for.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from r1rl.store import store

_COLUMNS: Final = ["prompt_id", "sample_idx", "completion", "gold", "verdict", "verdict_reason", "finish_reason"]
# The filter flexible-extract of lm-eval's task gsm8k (version 3), and what its comparison leaves out.
_NUMBER: Final = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED: Final = (",", r"\$", r"(?s).*#### ", r"\.$")


def by_math_verify(text: str, gold: str) -> bool:
    """math-verify 0.9 as its README shows it: both as LaTeX, gold first."""
    from math_verify import parse, verify

    return bool(verify(parse(f"${gold}$"), parse(text)))


def by_lm_eval(text: str, gold: str) -> bool:
    """The last number of the text, compared as text."""
    found = _NUMBER.findall(text)
    said = next(part for part in found[-1] if part) if found else "[invalid]"
    for pattern in _IGNORED:
        said, gold = re.sub(pattern, "", said.strip()), re.sub(pattern, "", gold)
    return said.lower() == gold.lower()


GRADERS: Final[Mapping[str, Callable[[str, str], bool]]] = {"math-verify": by_math_verify, "lm-eval": by_lm_eval}


def compared(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each row with its verdict and the others' as True or False; one without a judged gold is left out."""
    for row in rows:
        if row["verdict"] not in (None, "bad_gold"):
            others = {name: grade(row["completion"], row["gold"]) for name, grade in GRADERS.items()}
            yield row | others | {"r1rl": row["verdict"] == "correct"}


def main(words: list[str] | None = None) -> None:
    """Print the counts, and write the disagreements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder; its rollouts of kind eval are compared")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="disagreements, as JSON lines")
    parsed = parser.parse_args(words)
    rows = list(compared(store.read(parsed.run, kind="eval", columns=_COLUMNS).to_pylist()))
    sys.stdout.write(f"{len(rows):,} samples, {sum(row['r1rl'] for row in rows):,} right\n")
    for name in GRADERS:
        pairs = Counter((row["r1rl"], row[name]) for row in rows)
        agreed = pairs[True, True] + pairs[False, False]
        alone = f"right for r1rl alone {pairs[True, False]:,}, for {name} alone {pairs[False, True]:,}"
        sys.stdout.write(f"{name}: agrees on {agreed:,}; {alone}\n")
    odd = [row for row in rows if len({row["r1rl"], *(row[name] for name in GRADERS)}) > 1]
    parsed.to.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in odd), encoding="utf-8")


if __name__ == "__main__":
    main()
