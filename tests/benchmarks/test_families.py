"""Other families of models train, or say why not; `python -m benchmarks.families` has many more of them."""

from __future__ import annotations

from itertools import combinations

import pytest

from benchmarks import families
from benchmarks.families import Case

CASES, REFUSED = list(families.trained()), list(families.refused())
FEW = [CASES[6 * i + (i % 3) + 3 * (i % 2)] for i in range(len(families.FAMILIES))]
LEVELS = ("pad", "end", "chat", "special", "lora", "engine")


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_a_family_trains(case: Case) -> None:
    assert families.outcome(case) == "trained"


@pytest.mark.parametrize(("case", "message"), REFUSED[::2], ids=[case.name for case, _ in REFUSED[::2]])
def test_what_cannot_train_says_so_before_weights_are_read(case: Case, message: str) -> None:
    assert families.outcome(case, message).startswith("refused: error: ")


def test_every_family_meets_every_level_and_most_pairs_of_them() -> None:
    assert {(case.family, level, getattr(case, level)) for case in CASES for level in LEVELS} == {
        (family, level, getattr(case, level)) for family in families.FAMILIES for case in CASES for level in LEVELS
    }
    for one, other in combinations(LEVELS, 2):
        met = {(getattr(case, one), getattr(case, other)) for case in CASES}
        assert len(met) == len({pair[0] for pair in met}) * len({pair[1] for pair in met}), (one, other)
    assert {getattr(case, level) for case in FEW for level in LEVELS} == {
        getattr(case, level) for case in CASES for level in LEVELS
    }
