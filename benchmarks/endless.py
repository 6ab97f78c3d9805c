"""A tiny random model that never ends a completion by itself, so that lengths are given by the cap alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NEVER = -1e4
# The tiny base's, but for the output projection, which is its own here.
_SHAPE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}


def write(folder: Path, tokenizer: PreTrainedTokenizerBase, *, positions: int, seed: int = 0) -> Path:
    """A Llama model of random weights in `folder`, with that tokenizer, whose EOS cannot be drawn.

    A Llama's output projection has no bias. So the first channel of the residual stream is the same in every token
    and no layer writes to it; EOS's row reads that channel alone, and makes it a very low logit.

    Args:
        positions: longest prompt and completion together.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=positions,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        **_SHAPE,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = config.initializer_range
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        model.lm_head.weight[:, 0] = 0
        model.lm_head.weight[tokenizer.eos_token_id] = 0
        model.lm_head.weight[tokenizer.eos_token_id, 0] = _NEVER
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
