"""Other graders beside the stored verdicts: what each reads in a completion, and which rows count."""

import json

import pytest

from benchmarks import agreement
from r1rl.store import store


@pytest.mark.parametrize(
    ("text", "gold", "math_verify", "lm_eval"),
    [
        pytest.param("3 + 4 = 7. <answer> 7 </answer>", "7", True, True, id="plainly right"),
        pytest.param("<answer> 8 </answer>", "7", False, False, id="plainly wrong"),
        pytest.param("first 3 + 4 = 7", "7", True, True, id="no answer was given, but the last number is the gold"),
        pytest.param("<answer> $1,450 </answer>", "1450", True, True, id="thousands and a currency"),
        pytest.param("<answer> 7.0 </answer>", "7", True, False, id="lm-eval compares texts"),
        pytest.param("no number", "7", False, False, id="nothing to read"),
    ],
)
def test_graders(text, gold, math_verify, lm_eval):
    assert agreement.by_math_verify(text, gold) == math_verify
    assert agreement.by_lm_eval(text, gold) == lm_eval


def test_disagreements_are_counted_and_written(tmp_path, capsys):
    def rollout(sample: int, text: str, verdict: str) -> dict:
        return {
            "run": "r", "policy_step": 0, "prompt_id": "q", "group_id": "q", "sample_idx": sample, "task": "t",
            "template": "none", "prompt": "Q", "prefill": "", "completion": text, "n_tokens": 1,
            "finish_reason": "eos", "gold": "7", "meta": "{}", "verifier": "math", "verdict": verdict,
            "verdict_reason": "", "temperature": 1.0, "top_p": 1.0, "cap": 8, "wall_time": 0.0,
        }  # fmt: skip

    rows = [
        rollout(0, "<answer> 7 </answer>", "correct"),
        rollout(1, "so 3 + 4 = 7", "unparseable"),
        rollout(2, "<answer> 7 </answer>", "bad_gold"),
    ]
    store.write_shard(tmp_path / "run", rows, kind="eval", step=0, rank=0)
    agreement.main([str(tmp_path / "run"), "--to", str(tmp_path / "odd.jsonl")])
    assert capsys.readouterr().out.splitlines() == [
        "2 samples, 1 right",
        "math-verify: agrees on 1; right for r1rl alone 0, for math-verify alone 1",
        "lm-eval: agrees on 1; right for r1rl alone 0, for lm-eval alone 1",
    ]
    (odd,) = map(json.loads, (tmp_path / "odd.jsonl").read_text().splitlines())
    assert odd["sample_idx"] == 1
