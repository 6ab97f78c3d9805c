"""Word problems answered by a calculation: what a question asks for, and what was answered."""

from fractions import Fraction

import pytest

from benchmarks import calculations
from r1rl.store import store

EXAMPLE = "User: How many are 9 and 8?\nAssistant: <think> </think> <answer> 9 + 8 </answer>\n\n"
PENS = EXAMPLE + "User: A box holds 12 pens. 5 are taken out. How many are left?\nAssistant: <think>"


@pytest.mark.parametrize(
    ("prompt", "gold", "found"),
    [
        pytest.param(PENS, "7", ([12, 5], "-"), id="the last question, not the example"),
        pytest.param("User: 3 bags of 1,200?\nAssistant:", "3600", ([1200, 3], "*"), id="thousands"),
        pytest.param("User: 81 for 9?\nAssistant:", "9", ([81, 9], "/"), id="the larger by the smaller"),
        pytest.param("User: 5 and 5 more?\nAssistant:", "10", None, id="equal numbers have no order"),
        pytest.param("User: 2 and 4?\nAssistant:", "2", None, id="4 - 2 and 4 / 2 are both right"),
        pytest.param("User: 1, then 2, then 3?\nAssistant:", "6", None, id="three numbers"),
        pytest.param("User: 6 of 3?\nAssistant:", "5", None, id="no operation is right"),
        pytest.param("User: 6 of 0?\nAssistant:", "0", ([6, 0], "*"), id="nothing is divided by 0"),
    ],
)
def test_what_is_asked(prompt, gold, found):
    assert calculations.asked(prompt, gold) == found


@pytest.mark.parametrize(
    ("answer", "verdict", "kind", "said"),
    [
        pytest.param("12 - 5", "correct", "right", "-", id="right"),
        pytest.param("7", "correct", "right", None, id="the value is right too, and no calculation"),
        pytest.param("5 - 12", "wrong", "the right one, turned round", "-", id="turned round"),
        pytest.param("12 × 5", "wrong", "other operation", "*", id="another sign for the product"),
        pytest.param("12 - 4", "wrong", "other numbers", "-", id="a number of its own"),
        pytest.param("12 - 5 = 8", "unparseable", "no calculation of two numbers", None, id="with a result"),
        pytest.param(None, "unparseable", "no answer in the tag", None, id="no tag"),
    ],
)
def test_what_was_answered(answer, verdict, kind, said):
    text = "12 - 5 </think>" if answer is None else f"so </think> <answer> {answer} </answer>"
    row = {"completion": text, "verdict": verdict}
    assert calculations.kind(row, [Fraction(12), Fraction(5)], "-") == (kind, said)


def test_what_was_read_is_what_chance_does_not_explain(tmp_path, capsys):
    """Always `-` is right where `-` is asked, and dealing its answers out at random is right as often."""
    asked = [(PENS, "7"), (PENS.replace("12 pens", "14 pens"), "9"), ("User: 2 bags of 7?\nAssistant:", "14")]

    def rollouts(step: int, operations: str, temperature: float) -> list[dict]:
        rows = []
        for i, (prompt, gold) in enumerate(asked):
            (left, right), operation = calculations.asked(prompt, gold)
            rows.append({
                "run": "r", "policy_step": step, "prompt_id": str(i), "group_id": f"{i}-{temperature}", "sample_idx": 0,
                "task": "t", "template": "none", "prompt": prompt, "prefill": "", "n_tokens": 1,
                "completion": f"<answer> {left} {operations[i]} {right} </answer>",
                "finish_reason": "eos", "gold": gold, "meta": "{}", "verifier": "math",
                "verdict": "correct" if operation == operations[i] else "wrong",
                "verdict_reason": "", "temperature": temperature, "top_p": 1.0, "cap": 8, "wall_time": 0.0,
            })  # fmt: skip
        return rows

    store.write_shard(tmp_path / "run", rollouts(0, "---", 1.0), kind="eval", step=0, rank=0)
    last = [*rollouts(5, "--*", 1.0), *rollouts(5, "+++", 0.0)]
    store.write_shard(tmp_path / "run", last, kind="eval", step=5, rank=0)
    calculations.main([str(tmp_path / "run")])
    lines = {line[:40].strip(): line[40:].split(" %")[:2] for line in capsys.readouterr().out.splitlines()}
    values = {name: (float(first), float(second.split()[-1])) for name, (first, second) in lines.items()}
    assert values["right"] == (66.7, 100.0)  # of the sampled ones, the greedy ones are left out
    assert values["operation right"] == (66.7, 100.0)
    assert values["if they were dealt out at random"] == (66.7, 55.6)  # 2/3 * 2/3 + 1/3 * 1/3
    assert values["right among them, *"] == (0.0, 100.0)
