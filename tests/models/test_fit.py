"""What a model lacks for a recipe is said before its weights are read: ends, tags, positions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from tokenizers import normalizers
from transformers import GenerationConfig, GPT2Config, LlamaConfig

from r1rl import cli
from r1rl.ground.errors import RecipeError
from r1rl.models import fit
from r1rl.models.base import tokenizer as tiny_tokenizer

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "countdown.yaml"
SHAPE: dict[str, Any] = {
    "vocab_size": 127, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "rope_theta": 1e4}


def folder(
    path: Path, *, config: int | None = None, generation: Any = None, end: str | None = None, chat: str | None = None
) -> Any:
    """A model without weights: its configuration names `config`, its generation's `generation`, its tokenizer `end`."""
    LlamaConfig(**SHAPE, bos_token_id=None, eos_token_id=config).save_pretrained(path)
    if generation is not None:
        GenerationConfig(eos_token_id=generation).save_pretrained(path)
    tokenizer = tiny_tokenizer.build()
    tokenizer.eos_token = end
    tokenizer.chat_template = chat
    tokenizer.save_pretrained(path)
    return tokenizer


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        pytest.param({"end": "<eos>", "generation": 5}, 1, id="the tokenizer's own stays"),
        pytest.param({"generation": 5}, 5, id="of the generation's configuration alone"),
        pytest.param({"generation": [9, 5]}, 9, id="of several the first"),
        pytest.param({"config": 5}, 5, id="of the model's configuration alone"),
        pytest.param({"config": 3, "generation": 5}, 5, id="generation goes before the model"),
        pytest.param({"generation": [500, 5]}, None, id="one of them is no token of the model"),
    ],
)
def test_the_end_is_the_tokenizers_or_the_models(tmp_path: Path, named: dict[str, Any], expected: int | None) -> None:
    tokenizer = folder(tmp_path, **named)
    config, stated = fit.configuration(str(tmp_path))
    if expected is None:
        with pytest.raises(RecipeError, match=r"token 500 is to end a text, but the model's vocabulary .* has 127"):
            fit.name_end(tokenizer, config, stated)
        return
    fit.name_end(tokenizer, config, stated)
    assert tokenizer.eos_token_id == expected


def lower_case() -> Any:
    tokenizer = tiny_tokenizer.build()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("<think>", "think")
    return tokenizer


def ended_by_its_tag() -> Any:
    tokenizer = tiny_tokenizer.build()
    tokenizer.eos_token = "</answer>"
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "ends", "lost"),
    [
        pytest.param(tiny_tokenizer.build(), (), None, id="plain entries"),
        pytest.param(lower_case(), (), "<think>", id="normalised away"),
        pytest.param(ended_by_its_tag(), (), "</answer>", id="the end of a text"),
        pytest.param(tiny_tokenizer.build(), (5,), "<answer>", id="another end of the model"),
    ],
)
def test_a_tag_that_cannot_be_written_is_named(tokenizer: Any, ends: tuple[int, ...], lost: str | None) -> None:
    tags = {"format": ("<think>", "</think>", "<answer>", "</answer>")}
    if lost is None:
        fit.check_tags(tokenizer, ends, tags)
        return
    with pytest.raises(RecipeError, match=f"'format' looks for {lost}, which this model can never write"):
        fit.check_tags(tokenizer, ends, tags)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(LlamaConfig(**SHAPE), 256, id="rotations"),
        pytest.param(GPT2Config(n_positions=64), 64, id="a table, under another name"),
        pytest.param(LlamaConfig(**SHAPE, rope_parameters=YARN), 1024, id="stretched, positions before"),
        pytest.param(
            LlamaConfig(**SHAPE | {"max_position_embeddings": 1024}, rope_parameters=YARN), 1024,
            id="stretched, positions after",
        ),
    ],
)  # fmt: skip
def test_positions(config: Any, expected: int) -> None:
    assert fit.positions(config) == expected


@pytest.mark.parametrize(
    ("prompt", "completion", "message"),
    [
        pytest.param(56, 200, None, id="exactly"),
        pytest.param(57, 200, "longest prompt of 57 tokens that is 257, but .* 256 positions.*=199", id="one more"),
        pytest.param(300, 1, "301, but .* shorten the prompts", id="the prompt alone"),
    ],
)
def test_what_does_not_fit(prompt: int, completion: int, message: str | None) -> None:
    if message is None:
        fit.check_positions(256, prompt, completion)
        return
    with pytest.raises(RecipeError, match=message):
        fit.check_positions(256, prompt, completion)


@pytest.mark.parametrize("command", ["train", "plan"])
@pytest.mark.parametrize(
    ("named", "words", "message"),
    [
        pytest.param({}, [], "says which token ends a text", id="no end"),
        pytest.param({"end": "</answer>"}, [], "'accuracy' looks for </answer>", id="a lost tag"),
        pytest.param({"end": "<eos>"}, ["--max_completion_length", "250"], "the model has 256 positions", id="long"),
        pytest.param({"end": "<eos>"}, ["--max_completion_length", "1000000000"], "256 positions", id="a billion"),
        pytest.param(
            {"end": "<eos>", "chat": "{{ messages[0].content }}<think>\n\n</think>\n"},
            ["--prompt_template", "chat"],
            "'format' never pays behind a prompt that ends in '<think>\\n\\n</think>' (nothing inside <think>)",
            id="thoughts that the prompt closes",
        ),
        pytest.param({"end": "<eos>"}, ["--prompt_template", "chat"], "no chat template", id="no chat template"),
    ],
)
def test_a_run_that_would_train_on_nothing_does_not_begin(
    tmp_path: Path, command: str, named: dict[str, Any], words: list[str], message: str, capsys: Any
) -> None:
    """The message comes before any weight is loaded, and no run folder is left."""
    folder(tmp_path / "model", **named)
    save_file({}, tmp_path / "model" / "model.safetensors")
    runs = tmp_path / "runs"
    given = ["--model_name_or_path", str(tmp_path / "model"), "--runs_dir", str(runs), *words]
    assert cli.main([command, str(TINY), *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not runs.exists()


def test_an_adopted_end_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = folder(tmp_path, generation=1)
    with caplog.at_level(logging.INFO):
        fit.name_end(tokenizer, *fit.configuration(str(tmp_path)))
    assert "the tokenizer names no end of a text, the model does: '<eos>'" in caplog.text
