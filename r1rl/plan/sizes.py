"""The size of a model from its configuration alone: parameters, layers, keys and values. No weights are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r1rl.ground.errors import RecipeError, one_line
from r1rl.models import resolve as models

# From the published config.json files.
_KEYS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size",
    "tie_word_embeddings",
)  # fmt: skip
_KNOWN: dict[str, tuple[str, dict[str, tuple[int, int, int, int, int, int, bool]]]] = {
    "Qwen2.5": ("Qwen2Config", {
        "0.5B": (896, 24, 14, 2, 4864, 151936, True),
        "1.5B": (1536, 28, 12, 2, 8960, 151936, True),
        "3B": (2048, 36, 16, 2, 11008, 151936, True),
        "7B": (3584, 28, 28, 4, 18944, 152064, False),
        "14B": (5120, 48, 40, 8, 13824, 152064, False),
        "32B": (5120, 64, 40, 8, 27648, 152064, False),
    }),
    "DeepSeek-R1-Distill-Qwen": ("Qwen2Config", {
        "1.5B": (1536, 28, 12, 2, 8960, 151936, False),
        "7B": (3584, 28, 28, 4, 18944, 152064, False),
    }),
    "Qwen3": ("Qwen3Config", {  # its heads have 128 dimensions, the default of Qwen3Config
        "0.6B": (1024, 28, 16, 8, 3072, 151936, True),
        "1.7B": (2048, 28, 16, 8, 6144, 151936, True),
        "4B": (2560, 36, 32, 8, 9728, 151936, True),
        "8B": (4096, 36, 32, 8, 12288, 151936, False),
        "14B": (5120, 40, 40, 8, 17408, 151936, False),
    }),
    "Llama-3.2": ("LlamaConfig", {
        "1B": (2048, 16, 32, 8, 8192, 128256, True),
        "3B": (3072, 28, 24, 8, 8192, 128256, True),
    }),
    "Llama-3.1": ("LlamaConfig", {"8B": (4096, 32, 32, 8, 14336, 128256, False)}),
    "Mistral": ("MistralConfig", {"7B": (4096, 32, 32, 8, 14336, 32000, False)}),
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What memory and time depend on."""

    parameters: int  # all of them; tied ones once
    active: int  # those that one token passes through, fewer than all in a mixture of experts
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    kv_values: int  # numbers that one token adds to the cache, over all layers
    attention: int  # heads * head dimension, over all layers; times 4 * context: FLOPs of attention a token
    source: str  # where the configuration is from
    largest: int = 0  # numbers in the largest tensor
    heads: int = 0  # of attention, in one layer
    kv_heads: int = 1  # into so many parts the cache can be cut


def size(name: str) -> Size:
    """The size of a recipe's model: a folder with a config.json, a built base or package, or a known one by its name.

    Known by name are models of Qwen2.5, Qwen3, Llama 3 and Mistral, and DeepSeek-V3, with the numbers that
    DeepSeek-R1-Zero started from.

    Raises:
        RecipeError: the configuration is not here; nothing is downloaded.
    """
    return of_config(*_configuration(name))


def _configuration(name: str) -> tuple[Any, str]:
    """A model's configuration and where it is from; see `size`."""
    from transformers import AutoConfig

    models.check(name)
    folder = models.folder(name)
    if folder is not None:
        try:
            return AutoConfig.from_pretrained(folder, local_files_only=True), str(folder)
        except Exception as error:  # a damaged or foreign configuration breaks transformers in any way
            raise RecipeError(f"model_name_or_path={name!r}: {one_line(error)}") from error
    if name.rpartition("/")[2].lower() in ("deepseek-v3-base", "deepseek-v3"):
        return deepseek_v3(), "known sizes of DeepSeek-V3"
    for family, (_, sizes) in _KNOWN.items():
        start, _, variant = name.rpartition("/")[2].lower().partition(f"{family.lower()}-")
        billions = next((key for key in sizes if f"-{key.lower()}-" in f"-{variant}-"), None)
        if start == "" and billions is not None:
            return known(family, billions), f"known sizes of {family}-{billions}"
    names = ", ".join(f"{family}-{' '.join(sizes)}" for family, (_, sizes) in _KNOWN.items())
    raise RecipeError(
        f"model_name_or_path={name!r}: no configuration here (nothing is downloaded); give a folder with the model's "
        f"config.json, or one of {names}, DeepSeek-V3-Base"
    )


def of_config(config: Any, source: str) -> Size:
    """The size of a model that transformers builds from a configuration, without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    total = sum(p.numel() for p in model.parameters())
    text = config.get_text_config()
    experts = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    count = getattr(text, "n_routed_experts", None) or getattr(text, "num_local_experts", None) or 1
    used = min(count, getattr(text, "num_experts_per_tok", None) or count)
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    layers = text.num_hidden_layers
    kv_values = 2 * kv_heads * head_dim
    latent = getattr(text, "kv_lora_rank", None)
    if latent:  # multi-head latent attention (arXiv 2412.19437, 2.1.1): what is kept is the latent and one rotary key
        kv_values = latent + text.qk_rope_head_dim
        head_dim = (text.qk_nope_head_dim + text.qk_rope_head_dim + text.v_head_dim) // 2
    return Size(
        parameters=total,
        active=total - experts * (count - used) // count,
        layers=layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        vocabulary=text.vocab_size,
        kv_values=layers * kv_values,
        attention=layers * heads * head_dim,
        source=source,
        largest=max(p.numel() for p in model.parameters()),
        heads=heads,
        kv_heads=1 if latent else kv_heads,
    )


def adapters(name: str, rank: int, targets: Sequence[str] | None) -> int:
    """Parameters of LoRA's two matrices beside each layer of `targets` (arXiv 2106.09685, section 4.1).

    Args:
        name: as for `size`.
        rank: `lora_r`.
        targets: `lora_target_modules`: ends of the layers' names, or `all-linear`; None: as peft, queries and values.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(_configuration(name)[0])
    ends = ["q_proj", "v_proj"] if targets is None else list(targets)
    head = model.get_output_embeddings()
    layers = [
        layer
        for path, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
        and (layer is not head if ends == ["all-linear"] else path.rpartition(".")[2] in ends)
    ]
    if not layers:
        raise RecipeError(f"lora_target_modules={ends}: {name} has no such layer; try all-linear")
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)


def known(family: str, billions: str) -> Any:
    """The configuration of a known model, as `known("Qwen2.5", "0.5B")`."""
    import transformers

    kind, sizes = _KNOWN[family]
    return getattr(transformers, kind)(**dict(zip(_KEYS, sizes[billions], strict=True)))


def deepseek_v3() -> Any:
    """The configuration of DeepSeek-V3 (arXiv 2412.19437, 4.2), the parts for predicting further tokens left out."""
    from transformers import DeepseekV3Config

    return DeepseekV3Config(
        vocab_size=129280, hidden_size=7168, intermediate_size=18432, moe_intermediate_size=2048, num_hidden_layers=61,
        num_attention_heads=128, num_key_value_heads=128, n_shared_experts=1, n_routed_experts=256,
        num_experts_per_tok=8, first_k_dense_replace=3, kv_lora_rank=512, q_lora_rank=1536, qk_rope_head_dim=64,
        v_head_dim=128, qk_nope_head_dim=128, tie_word_embeddings=False,
    )  # fmt: skip
