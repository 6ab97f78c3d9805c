"""Prompt templates: exact texts, and questions that look like format strings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.tasks import prompts

EXAMPLES = [
    {"question": "What is 1 + 2?", "reasoning": "1 + 2 = 3.", "answer": "3"},
    {"question": "What is {x}?", "reasoning": "It is %s.", "answer": "{0}"},
]
QUESTION = "What is 2 + 2?"


class FakeTokenizer:
    """Renders a chat the way tokenizers with and without a BOS token do."""

    chat_template: str | None = "yes"
    bos_token = "<s>"
    bos_token_id = 1
    ending = "[assistant]"

    def __init__(self, *, adds_bos: bool) -> None:
        self.adds_bos = adds_bos

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [1, 5] if self.adds_bos else [5]}

    def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> str:
        assert options == {"tokenize": False, "add_generation_prompt": True}
        return "<s>" + "".join(f"[{message['role']}]{message['content']}" for message in messages) + self.ending


def built(name: str) -> prompts.Prompt:
    if name == "chat":
        return prompts.get(name, tokenizer=FakeTokenizer(adds_bos=True))
    return prompts.get(name, examples=EXAMPLES if name == "few-shot" else None)


def test_r1_zero_is_verbatim() -> None:
    prompt = prompts.get("r1-zero")
    assert prompt.prefill == ""
    assert prompt.render(QUESTION) == (
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
        "The assistant first thinks about the reasoning process in the mind and then provides the user with "
        "the answer. The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> "
        "tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
        "User: What is 2 + 2?. Assistant:"
    )


def test_tinyzero_opens_the_thoughts() -> None:
    prompt = prompts.get("tinyzero")
    assert prompt.prefill == "<think>"
    assert prompt.render(QUESTION) == (
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
        "The assistant first thinks about the reasoning process in the mind and then provides the user with "
        "the answer.\n"
        "User: What is 2 + 2? Show your work in <think> </think> tags. And return the final answer in "
        "<answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>.\n"
        "Assistant: Let me solve this step by step.\n<think>"
    )


def test_few_shot_shows_its_examples_first() -> None:
    prompt = prompts.get("few-shot", examples=EXAMPLES, system="Answer briefly.")
    assert prompt.prefill == "<think>"
    assert prompt.render(QUESTION) == (
        "Answer briefly.\n\n"
        "User: What is 1 + 2?\nAssistant: <think> 1 + 2 = 3. </think> <answer> 3 </answer>\n\n"
        "User: What is {x}?\nAssistant: <think> It is %s. </think> <answer> {0} </answer>\n\n"
        "User: What is 2 + 2?\nAssistant: <think>"
    )


def test_none_is_the_question_alone() -> None:
    assert prompts.get("none").render("Use 3, 5 to make 8.") == "Use 3, 5 to make 8."


@pytest.mark.parametrize(
    ("adds_bos", "start"),
    [
        pytest.param(True, "[system]", id="tokenizing adds the BOS again, so it is taken out"),
        pytest.param(False, "<s>[system]", id="the rendered BOS is the only one"),
    ],
)
def test_chat_has_one_bos(adds_bos: bool, start: str) -> None:
    prompt = prompts.get("chat", tokenizer=FakeTokenizer(adds_bos=adds_bos), system="Be brief.")
    assert prompt.render("Hi {you}") == f"{start}Be brief.[user]Hi {{you}}[assistant]"


@pytest.mark.parametrize(
    ("ending", "opened"),
    [
        pytest.param("<|assistant|>\n", "", id="nothing"),
        pytest.param("<|assistant|>\n<think>\n", "<think>\n", id="the thoughts, as R1's and QwQ's templates do"),
        pytest.param("<|assistant|>", "", id="no tag"),
        pytest.param("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n", id="no thoughts wanted, as Qwen3 says it"),
        pytest.param("<think>I see.</think><answer>", "", id="a worked example's, not empty"),
        pytest.param("in <think> </think> tags.<|assistant|>", "", id="named before, not opened"),
        pytest.param("<|assistant|><think></think><answer>", "<think></think><answer>", id="the answer"),
    ],
)
def test_what_a_rendered_prompt_opens_is_the_prefill(ending: str, opened: str) -> None:
    tokenizer = FakeTokenizer(adds_bos=False)
    tokenizer.ending = ending
    prompt = prompts.get("chat", tokenizer=tokenizer)
    assert prompts.opened(prompt.render(QUESTION)) == opened


@pytest.mark.parametrize("name", prompts.names())
def test_the_prefill_of_a_template_is_what_it_opens(name: str) -> None:
    prompt = built(name)
    assert prompts.opened(prompt.render(QUESTION)) == prompt.prefill


@pytest.mark.parametrize("template", [None, "missing"])
def test_chat_needs_a_chat_template(template: str | None) -> None:
    tokenizer = FakeTokenizer(adds_bos=True)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template; base models take"):
        prompts.get("chat", tokenizer=None if template is None else tokenizer)


@pytest.mark.parametrize("name", prompts.names())
@given(question=st.one_of(st.text(), st.sampled_from(["{}", "{question}", "{0!r}", "%s %(a)d", "$x ${y}", "\\1"])))
def test_any_question_survives(name: str, question: str) -> None:
    prompt = built(name)
    rendered = prompt.render(question)
    assert question in rendered
    assert rendered.endswith(prompt.prefill)


@pytest.mark.parametrize("name", prompts.names())
def test_default_stop(name: str) -> None:
    assert built(name).stop == ("</answer>", "User:")


def test_stop_can_be_given() -> None:
    assert prompts.get("none", stop=["\n"]).stop == ("\n",)
    assert prompts.get("none", stop=[]).stop == ()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        pytest.param("r1zero", {}, "unknown template, known are .*; did you mean 'r1-zero'", id="typo"),
        pytest.param("few-shot", {}, "needs a list of worked examples", id="no examples"),
        pytest.param("few-shot", {"examples": [{"question": "a"}]}, r"examples\[0\]", id="half an example"),
        pytest.param("few-shot", {"examples": "abc"}, "needs a list", id="text for examples"),
        pytest.param("r1-zero", {"system": "x"}, "does not use it", id="verbatim templates take no text"),
        pytest.param("none", {"examples": EXAMPLES}, "does not use it", id="examples without a place"),
        pytest.param("none", {"stop": "abc"}, "list of non-empty texts", id="stop is one text"),
        pytest.param("none", {"stop": [""]}, "list of non-empty texts", id="an empty stop would end everything"),
        pytest.param("none", {"stopp": ["a"]}, "does not use it, it takes stop", id="unknown option"),
    ],
)
def test_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prompts.check(name, options)
