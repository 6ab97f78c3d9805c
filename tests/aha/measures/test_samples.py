"""What a measure reads of a run: rows with their annotations, and tokens where they are known and not too many."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from r1rl.aha.figures import annotations
from r1rl.aha.figures.figures import Selection
from r1rl.aha.measures import samples, suite
from r1rl.store import store
from tests.aha.annotated_runs import rollout

TEXTS = ("<think> 1 + 2 = 3 no </think>", "<think> 1 + 2 + 3 = 6 </think>")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four prompts at two steps, with the tokens of a tokenizer that has a token a word."""
    words = sorted({word for text in TEXTS for word in text.split()})
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<think>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (tmp_path / "checkpoints" / "final").mkdir(parents=True)
    tokenizer.save(str(tmp_path / "checkpoints" / "final" / "tokenizer.json"))
    for step in (0, 10):
        rows = []
        for prompt in range(4):
            for i, text in enumerate(TEXTS):
                ids = tokenizer.encode(text).ids
                known = {"token_ids": ids, "logprobs": [-0.5] * len(ids), "n_tokens": len(ids)}
                rows.append(rollout(f"p{prompt}", i, completion=text, **known))
        store.write_shard(tmp_path, rows, kind="eval", step=step, rank=0)
    annotations.compute(tmp_path, kind="eval")
    return tmp_path


@pytest.mark.parametrize(
    ("most", "laid", "in_tokens"),
    [
        pytest.param(10_000, ["p0", "p1", "p2", "p3"], True, id="few: of all"),
        pytest.param(90, ["p0", "p2"], False, id="too many: of every second prompt, and lengths in characters"),
    ],
)
def test_where_tokens_stand_is_looked_up_of_so_many(
    run: Path, monkeypatch: pytest.MonkeyPatch, most: int, laid: list[str], in_tokens: bool
) -> None:
    monkeypatch.setattr(samples, "MOST_TOKENS", most)
    found = samples.load(run, Selection(), [0, 10])
    assert [prompt for prompt, steps in sorted(found.items()) if steps[1][0].tokens] == laid
    assert {sample.in_tokens for _, _, sample in samples.every(found)} == {in_tokens}
    for prompt in laid:
        tokens = found[prompt][0][0].tokens or []
        assert "".join(TEXTS[0][token.start : token.end] for token in tokens) == TEXTS[0]
    (measured,) = suite.measure([run], resamples=50)
    assert measured.rows["token_surprise"].last.value == 0.5
    assert measured.steps == (0, 10)
