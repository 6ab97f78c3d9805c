"""Data sets by name, as people train and evaluate on them: where each is, which columns it has, what judges it.

A preset is the task `file` with its options filled in; any of them may be given besides, and `path` takes a local copy
of the same rows instead of the hub's. Revisions are those that public code pins; where none was found, `main` is read
and `revision` says nothing. Sizes are the rows of the split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from r1rl.ground.errors import RecipeError

_SOURCE: Final = ("dataset", "config", "revision", "split")
_SUBJECTS: Final = "algebra+counting_and_probability+geometry+intermediate_algebra+number_theory+prealgebra+precalculus"
# DAPO's rows carry their instruction, which a prompt template would contradict.
_DAPO_QUESTION: Final = (
    r"(?s)is the answer to the problem\.\n\n(.+?)(?:\n\nRemember to put your answer on its own line|\Z)"
)


@dataclass(frozen=True)
class Preset:
    """One data set.

    Args:
        text: what it is, for people.
        dataset, config, revision: on the hub; several configurations are joined by `+`.
        split: the one to evaluate on.
        train_split: the one that a recipe trains on; None: a benchmark, which no recipe takes unless it names a split.
        options: further options of the task `file`.
    """

    text: str
    dataset: str
    split: str
    config: str | None = None
    revision: str | None = None
    train_split: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def file_options(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the task `file`: this preset's, then those given. `name` is for the error.

        Raises:
            RecipeError: a benchmark whose split was not named, and no local copy.
        """
        if given.get("path") is not None or given.get("dataset") is not None:
            return dict(self.options) | dict(given)
        source = {"dataset": self.dataset, "config": self.config, "revision": self.revision, "split": self.train_split}
        options = source | dict(self.options) | dict(given)
        if options["split"] is None:
            raise RecipeError(
                f"task={name!r}: a benchmark, for `r1rl eval`; to train on it all the same, name the split: "
                f"--task_options.split {self.split}"
            )
        return options


PRESETS: Final[dict[str, Preset]] = {
    "gsm8k": Preset(
        "GSM8K: 1,319 word problems of grade school (7,473 to train on)",
        "openai/gsm8k",
        "test",
        config="main",
        revision="740312add88f781978c0658806c59bc2815b9866",
        train_split="train",
        options={"answer_pattern": "#### (.+)"},
    ),
    "math": Preset(
        "MATH: 5,000 problems of competitions, by subject and level (7,500 to train on)",
        "EleutherAI/hendrycks_math",
        "test",
        config=_SUBJECTS,
        revision="21a5633873b6a120296cce3e2df9d5550074f4a3",
        train_split="train",
        options={"question_column": "problem", "answer_column": "solution", "answer_extraction": "boxed"},
    ),
    "math500": Preset(
        "MATH-500: 500 of the test problems of MATH",
        "HuggingFaceH4/MATH-500",
        "test",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        options={"question_column": "problem", "answer_column": "answer"},
    ),
    "aime24": Preset(
        "AIME 2024: 30 problems, whole numbers from 0 to 999",
        "HuggingFaceH4/aime_2024",
        "train",
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        options={"question_column": "problem", "answer_column": "answer"},
    ),
    "aime25": Preset(
        "AIME 2025: 30 problems, whole numbers from 0 to 999",
        "math-ai/aime25",
        "test",
        revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
        options={"question_column": "problem", "answer_column": "answer"},
    ),
    "amc23": Preset(
        "AMC 2023: 40 problems",
        "math-ai/amc23",
        "test",
        revision="80815d37005feb82cd7f8fbc6901d5d3eff43057",
        options={"question_column": "question", "answer_column": "answer"},
    ),
    "minerva": Preset(
        "Minerva: 272 problems of university courses",
        "math-ai/minervamath",
        "test",
        revision="ee46ddc498933b1977577953250ca5c66be64f96",
        options={"question_column": "question", "answer_column": "answer"},
    ),
    "olympiadbench": Preset(
        "OlympiadBench: 674 problems in English, in text, with an answer",
        "Hothan/OlympiadBench",
        "train",
        config="OE_TO_maths_en_COMP",
        revision="91184b52131e7fc9455fef848035173aea8cc01a",
        options={"question_column": "question", "answer_column": "final_answer"},
    ),
    "dapo-math-17k": Preset(
        "DAPO-Math-17k: 17,398 problems to train on, without their instruction and their copies",
        "BytedTsinghua-SIA/DAPO-Math-17k",
        "train",
        revision="65877096c24ffa7abc4e4fa5edb95cf3413a5674",
        train_split="train",
        options={
            "question_column": "prompt",
            "question_pattern": _DAPO_QUESTION,
            "answer_column": "reward_model.ground_truth",
            "distinct": True,
        },
    ),
    "deepscaler": Preset(
        "DeepScaleR: 40,315 problems of competitions to train on",
        "agentica-org/DeepScaleR-Preview-Dataset",
        "train",
        revision="b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29",
        train_split="train",
        options={"question_column": "problem", "answer_column": "answer"},
    ),
    "big-math": Preset(
        "Big-Math: 251,122 problems to train on (needs the hub's consent)",
        "SynthLabsAI/Big-Math-RL-Verified",
        "train",
        revision="c75d2f117cddfecb6bd08756e61e508e59732b21",
        train_split="train",
        options={"question_column": "problem", "answer_column": "answer"},
    ),
    "orz-57k": Preset(
        "ORZ: Open-Reasoner-Zero's 56,878 problems to train on",
        "Open-Reasoner-Zero/orz_math_57k_collection",
        "train",
        train_split="train",
        options={"question_column": "0.value", "answer_column": "1.ground_truth.value"},
    ),
    "countdown-3to4": Preset(
        "Countdown-Tasks-3to4: TinyZero's 490,364 problems of three or four numbers",
        "Jiayi-Pan/Countdown-Tasks-3to4",
        "train",
        revision="408f70d177020686d34a56bba5952feb45aaaee4",
        train_split="train",
        options={"question_column": None, "numbers_column": "nums", "answer_column": "target"},
    ),
    "knights-and-knaves": Preset(
        "Knights and Knaves: 700 puzzles of two to eight people (6,200 to train on)",
        "K-and-K/knights-and-knaves",
        "2ppl+3ppl+4ppl+5ppl+6ppl+7ppl+8ppl",
        config="test",
        revision="2f68547989981b1af37cb3dde5fdefa847aa8619",
        options={"question_column": "quiz", "answer_column": "solution_text_format", "verifier": "roles"},
    ),
}


def describe(preset: Preset) -> str:
    """A line for people: what it is, and where."""
    pinned = "unpinned (no revision in public code)" if preset.revision is None else preset.revision[:8]
    return f"{preset.text}; {preset.dataset}, {pinned}"
