"""The update where the model is not on the CPU: the same gradient, and nothing meets a tensor of another device."""

import pytest
import torch
from other_device import DEVICE, device, move
from transformers import AutoModelForCausalLM, Qwen2Config

from r1rl.update import scoring
from r1rl.update.batching import Batching, Cost

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
PROMPTS = [[5, 6, 7]] * 3 + [[8, 9]] * 2
COMPLETIONS = [[1, 2, 3, 4], [11], [], [12, 13], [14, 15, 16]]


@pytest.mark.parametrize(
    "shared",
    [
        pytest.param(True, id="several completions behind a prompt, under a mask"),
        pytest.param(False, id="a row a completion"),
    ],
)
def test_the_same_gradient_as_on_the_cpu(shared):
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=31, num_key_value_heads=2, attn_implementation="sdpa", **SHAPE)
    model = AutoModelForCausalLM.from_config(config)
    scoring.add_scoring(model, 0.9)
    batching = Batching(40, False, shared, Cost(1.0, 0.0))

    def gradients(where):
        model.zero_grad()
        for rows in batching.passes(PROMPTS, COMPLETIONS)[0]:
            chunk = batching.chunk(rows, COMPLETIONS, where)
            logps, entropies = model(
                input_ids=chunk.input_ids,
                attention_mask=chunk.attention_mask,
                position_ids=chunk.position_ids,
                scored=(chunk.sources, chunk.targets),
            )
            known = torch.zeros(len(PROMPTS), 4, device=where).index_put((chunk.row, chunk.column), logps)
            (known.sum() + entropies.sum()).backward()
        return [torch.tensor(p.grad.tolist()) for p in model.parameters()]

    expected = gradients(torch.device("cpu"))
    move(model)
    with device():
        found = gradients(DEVICE)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
