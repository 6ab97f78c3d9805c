"""A tiny random model that never ends a completion by itself, so that lengths are given by the cap alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NEVER = -1e4
# The layers of the project's tiny base.
_SHAPE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}


def write(folder: Path, tokenizer: PreTrainedTokenizerBase, *, positions: int, seed: int = 0) -> Path:
    """A Phi model of random weights in `folder`, with that tokenizer: its output projection has a bias, which bars EOS.

    Args:
        positions: longest prompt and completion together.
    """
    import torch
    from transformers import PhiConfig, PhiForCausalLM

    torch.manual_seed(seed)
    config = PhiConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=positions,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **_SHAPE,
    )
    model = PhiForCausalLM(config)
    with torch.no_grad():
        model.lm_head.bias[tokenizer.eos_token_id] = _NEVER
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
