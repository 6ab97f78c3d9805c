"""The reward of recipes/smollm2-135m: it pays the last try of the thoughts, and nothing but a true one."""

import runpy
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "recipes/smollm2-135m/last_try.py"


@pytest.mark.parametrize(
    ("text", "paid"),
    [
        pytest.param("5 + 4 = 9 no, 5 * 4 = 20 yes </think> <answer> 5 * 4 = 20 </answer>", 1.0, id="a second try"),
        pytest.param("5 * 4 = 20 yes </think> <answer> 9 </answer>", 1.0, id="whatever is answered"),
        pytest.param("5 * 4 = 21 no </think>", 1.0, id="its own result and word do not matter"),
        pytest.param("5 * 4 = 20 yes, 5 + 4 = 9 no </think>", 0.0, id="given up again"),
        pytest.param("5 + 4 = 20 yes </think>", 0.0, id="the target as a result makes nothing right"),
        pytest.param("10 * 2 = 20 yes </think>", 0.0, id="other numbers"),
        pytest.param("no idea </think> 5 * 4 = 20", 0.0, id="behind the thoughts"),
        pytest.param("5 * 4 = 20 yes, " + "no " * 10_000, 1.0, id="no try at the end, and long"),
        pytest.param("", 0.0, id="nothing"),
    ],
)
def test_what_is_paid(text: str, paid: float) -> None:
    last_try = runpy.run_path(str(FILE))["last_try"]
    assert last_try([text], gold=["20"], meta=['{"numbers": [5, 4]}'], task=["countdown"]) == [paid]
