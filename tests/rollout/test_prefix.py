"""What prompts begin with."""

import pytest

from r1rl.rollout import prefix


@pytest.mark.parametrize(
    ("prompts", "common"),
    [
        pytest.param([range(40), [*range(30), 99, 98]], 30, id="up to the first that differs"),
        pytest.param([range(40), range(30)], 29, id="one begins the other: a token is left of it"),
        pytest.param([range(40), range(40)], 39, id="a group that was cut"),
        pytest.param([range(40), [*range(15), 99]], 0, id="too few to be worth it"),
        pytest.param([range(40), [*range(16), 99]], 16, id="just enough"),
        pytest.param([[*range(20), 1], [*range(18), 7, 8], range(40)], 18, id="of all, not of neighbours"),
        pytest.param([range(40)], 0, id="one has it to itself"),
        pytest.param([], 0, id="none"),
    ],
)
def test_what_is_computed_once(prompts, common):
    assert prefix.shared([tuple(prompt) for prompt in prompts]) == common


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([range(7)], 7, id="one"),
        pytest.param([range(7), range(7)], 7, id="the same twice"),
        pytest.param([range(7), [*range(5), 99]], 8, id="a common beginning once"),
        pytest.param([range(7), range(4)], 7, id="one begins the other"),
        pytest.param([[1, 2, 3], [9, 2, 3], [1, 2, 4], [9, 2]], 7, id="two pairs, each with its own beginning"),
    ],
)
def test_what_must_be_computed_at_least(prompts, expected):
    assert prefix.distinct([tuple(prompt) for prompt in prompts]) == expected
