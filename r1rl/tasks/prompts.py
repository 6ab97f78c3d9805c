"""Prompt templates by name: how a question becomes the text that the model continues.

A template is plain text around the question, so base models without a chat template are first-class.
Questions are joined, never formatted: braces and percent signs in them are only text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from r1rl.ground.errors import RecipeError, nearest, one_line

DEFAULT_STOP = ("</answer>", "User:")
# What the end of a prompt opens of the answer. Qwen3's template closes empty thoughts where none are wanted.
_OPENED = re.compile(r"<think>\s*(?:</think>\s*(?:<answer>\s*)?)?\Z")
EXAMPLE_KEYS = ("question", "reasoning", "answer")

# prefill, before and after the question
_TEMPLATES = {
    # Verbatim, DeepSeek-R1 (arXiv 2501.12948v1), table 1. It does not open <think>.
    "r1-zero": (
        "",
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
        "The assistant first thinks about the reasoning process in the mind and then provides the user with the "
        "answer. The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
        "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: ",
        ". Assistant:",
    ),
    # TinyZero's base template (Jiayi-Pan/TinyZero, examples/data_preprocess/countdown.py). It opens <think>.
    "tinyzero": (
        "<think>",
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
        "The assistant first thinks about the reasoning process in the mind and then provides the user with the "
        "answer.\nUser: ",
        " Show your work in <think> </think> tags. And return the final answer in <answer> </answer> tags, for "
        "example <answer> (1 + 2) / 3 </answer>.\nAssistant: Let me solve this step by step.\n",
    ),
    "few-shot": ("<think>", "User: ", "\nAssistant: "),
    "chat": ("", "", ""),
    "none": ("", "", ""),
}
_OPTIONS = {"few-shot": ["examples", "stop", "system"], "chat": ["stop", "system"]}  # of the others: stop


@dataclass(frozen=True)
class Prompt:
    """A template: `render(question)` is `before + question + after + prefill`.

    Args:
        name: the template's registered name.
        prefill: what this template puts behind a question to open the answer (`<think>` or nothing). A chat template
            may open it as well: `opened` finds what a rendered prompt opens.
        stop: strings that end a completion.
        before, after: the text around the question.
        convert: renders the question when plain text around it is not enough (chat templates).
    """

    name: str
    prefill: str = ""
    stop: tuple[str, ...] = DEFAULT_STOP
    before: str = ""
    after: str = ""
    convert: Callable[[str], str] | None = field(default=None, repr=False, compare=False)

    def render(self, question: str) -> str:
        """The whole prompt for one question, prefill included."""
        text = question if self.convert is None else self.convert(question)
        return self.before + text + self.after + self.prefill


def opened(prompt: str) -> str:
    """The part of the answer that a rendered prompt opens, "" for none. A format rule judges it with the completion."""
    found = _OPENED.match(prompt, max(0, prompt.rfind("<think>")))  # no earlier one reaches the end
    return found[0] if found else ""


def names() -> list[str]:
    """The registered templates."""
    return list(_TEMPLATES)


def get(
    name: str,
    *,
    tokenizer: Any = None,
    examples: Sequence[Mapping[str, str]] | None = None,
    system: str | None = None,
    stop: Sequence[str] | None = None,
) -> Prompt:
    """The template `name`.

    Args:
        name: one of `names()`.
        tokenizer: needed by `chat` alone, for its chat template.
        examples: worked examples for `few-shot`, each with `question`, `reasoning` and `answer`.
        system: `chat`: the system message; `few-shot`: a text before the examples.
        stop: strings that end a completion, instead of `DEFAULT_STOP`.

    Raises:
        RecipeError: unknown template, or an option that it lacks or cannot use.
    """
    check(name, {"examples": examples, "system": system, "stop": stop})
    prefill, before, after = _TEMPLATES[name]
    if name == "few-shot":
        before = (f"{system}\n\n" if system else "") + "".join(_worked(example) for example in examples or ()) + before
    convert = _chat(tokenizer, system) if name == "chat" else None
    return Prompt(name, prefill, DEFAULT_STOP if stop is None else tuple(stop), before, after, convert)


def check(name: str, options: Mapping[str, Any]) -> None:
    """Check a template's name and options without a tokenizer.

    Raises:
        RecipeError: naming the key, the value and what is allowed.
    """
    if name not in names():
        known = ", ".join(names())
        raise RecipeError(f"prompt_template={name!r}: unknown template, known are {known}{nearest(name, names())}")
    allowed = _OPTIONS.get(name, ["stop"])
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in allowed:
            raise RecipeError(f"prompt_options.{key}: template {name!r} does not use it, it takes {', '.join(allowed)}")
    if not isinstance(given.get("system", ""), str):
        raise RecipeError(f"prompt_options.system={given['system']!r}: need a text")
    stop = given.get("stop", [])
    if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
        raise RecipeError(f"prompt_options.stop={stop!r}: need a list of non-empty texts, such as ['</answer>']")
    if name == "few-shot":
        _check_examples(given.get("examples"))


def _check_examples(examples: Any) -> None:
    """Every example has the three texts."""
    if not examples or not isinstance(examples, Sequence) or isinstance(examples, str):
        raise RecipeError(
            "prompt_options.examples: template 'few-shot' needs a list of worked examples, each with "
            f"{', '.join(EXAMPLE_KEYS)}; three are usual"
        )
    for position, example in enumerate(examples):
        if not isinstance(example, Mapping) or set(example) != set(EXAMPLE_KEYS):
            raise RecipeError(
                f"prompt_options.examples[{position}]={example!r}: need exactly the keys {', '.join(EXAMPLE_KEYS)}"
            )


def _worked(example: Mapping[str, Any]) -> str:
    """One worked example, written the way the model is to answer."""
    question, reasoning, answer = (str(example[key]).strip() for key in EXAMPLE_KEYS)
    return f"User: {question}\nAssistant: <think> {reasoning} </think> <answer> {answer} </answer>\n\n"


def _chat(tokenizer: Any, system: str | None) -> Callable[[str], str]:
    """The tokenizer's own chat template, rendered to text."""
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        raise RecipeError(
            "prompt_template='chat': this model's tokenizer has no chat template; base models take r1-zero, "
            "tinyzero or few-shot"
        )
    # Prompts are tokenized as plain text later; where that adds a BOS, the rendered one would be the second.
    bos = tokenizer.bos_token
    adds_bos = bool(bos) and list(tokenizer("a")["input_ids"][:1]) == [tokenizer.bos_token_id]

    def render(question: str) -> str:
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": question})
        try:
            text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError as error:
            raise RecipeError(f"prompt_template='chat': the tokenizer's template refuses: {one_line(error)}") from error
        return text.removeprefix(bos) if adds_bos else text

    return render
