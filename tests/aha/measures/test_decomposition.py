"""Where a gain comes from: the division by hand, its sum on every pair of steps, and the detector's errors."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r1rl.aha.figures import annotations, bootstrap
from r1rl.aha.figures.figures import Counts, Selection, counts
from r1rl.aha.measures import decomposition, detector_errors
from r1rl.aha.measures.decomposition import FACTORS, PARTS, TOTAL, accuracy, divide, measure, pair
from tests.aha.annotated_runs import Annotation, attempts_of, drawn_annotation, write_run

NAN = float("nan")


def factors(**changes: float) -> Any:
    """A policy that always attempts, keeps what hits, and is right of nothing else."""
    values = {"attempted": 1.0, "first_hit": 0.25, "retry_per_miss": 0.0, "hit_per_retry": 0.5, "right_kept": 1.0,
              "right_unseen": 0.0} | changes  # fmt: skip
    return np.array([values[figure.key] for figure in FACTORS])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        pytest.param({}, 0.25, id="no retries: the first attempts"),
        pytest.param({"retry_per_miss": 0.5}, 0.5, id="0.25 + 0.5 * 0.5 * 0.75 / (1 - 0.5 * 0.5)"),
        pytest.param({"retry_per_miss": 1.0}, 1.0, id="who never gives up hits at last"),
        pytest.param({"retry_per_miss": 1.0, "hit_per_retry": 0.0}, 0.25, id="not where no retry ever hits"),
        pytest.param({"right_kept": 0.8, "right_unseen": 0.4}, 0.25 * 0.8 + 0.75 * 0.4, id="lost and found"),
        pytest.param({"attempted": 0.5}, 0.125, id="half make no attempt"),
    ],
)
def test_what_factors_make(changes: dict[str, float], wanted: float) -> None:
    assert accuracy(factors(**changes)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        pytest.param({}, {}, {}, id="nothing changed, so every term is zero"),
        pytest.param({}, {"retry_per_miss": 0.5}, {"decision": 0.25}, id="only retries more"),
        pytest.param({"hit_per_retry": NAN}, {"retry_per_miss": 0.5}, {"decision": 0.25},
                     id="no retry at first: how often one hits is taken from the last step"),
        pytest.param({"first_hit": 0.2, "retry_per_miss": 0.0, "hit_per_retry": 1.0},
                     {"first_hit": 0.4, "retry_per_miss": 0.5, "hit_per_retry": 1.0},
                     {"first": 0.15, "decision": 0.35}, id="two parts: the mean over both orders"),
        pytest.param({"retry_per_miss": 0.5}, {"retry_per_miss": 0.5, "right_kept": 0.5}, {"keeping": -0.25},
                     id="hits are lost"),
        pytest.param({"attempted": 0.5}, {"attempted": 1.0}, {"attempting": 0.125}, id="more rollouts make an attempt"),
        pytest.param({"right_unseen": 0.0}, {"right_unseen": 0.4}, {"rest": 0.3}, id="guesses"),
    ],
)  # fmt: skip
def test_the_division_by_hand(before: dict[str, float], after: dict[str, float], wanted: dict[str, float]) -> None:
    terms = dict(zip(PARTS, divide(factors(**before), factors(**after)).tolist(), strict=True))
    assert terms == pytest.approx(dict.fromkeys(PARTS, 0.0) | wanted, abs=1e-12)


def test_the_factors_of_paths_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ["R", "WR", "WWW", "WRW", "", "RWR", "W", "WW"]
    right = [True, True, False, False, True, True, False, True]

    def draw(step: int, prompt: int, index: int) -> Annotation:
        return {"correct": right[index], **attempts_of(paths[index])}

    run = write_run(tmp_path / "run", monkeypatch, draw, steps=(0,), prompts=1, samples=len(paths))
    found = counts(run, Selection(), [TOTAL, *FACTORS])
    assert {key: tuple(one[0, 0]) for key, one in found.sums.items()} == {
        "judged_accuracy": (5, 8),
        "attempted": (7, 8),
        "first_hit": (2, 7),  # R, RWR
        "retry_per_miss": (1 + 2 + 1 + 1, 1 + 3 + 1 + 1 + 2),  # WR, WWW, WRW, W, WW up to the first hit
        "hit_per_retry": (2, 5),  # WR, WRW
        "right_kept": (3, 4),  # of R, WR, WRW, RWR all but WRW
        "right_unseen": (2, 4),  # of WWW, "", W, WW
    }


@pytest.fixture
def drawn_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Annotations in which nothing goes with anything else: guesses, lost hits, rollouts that nobody judged."""
    generator = random.Random(3)

    def draw(step: int, prompt: int, sample: int) -> Annotation:
        return drawn_annotation(generator, hit=0.2 + step / 80, retry=0.1 + step / 50)

    return write_run(tmp_path / "drawn", monkeypatch, draw, steps=(0, 10, 20, 30))


def test_the_terms_add_up_on_every_pair_of_steps(drawn_run: Path) -> None:
    found = counts(drawn_run, Selection(), [TOTAL, *FACTORS])
    for first, last in itertools.permutations(found.steps, 2):
        change, terms = pair(found, first, last)
        assert sum(terms.values()) == pytest.approx(change, abs=1e-9)
        assert pair(found, last, first)[1] == pytest.approx({key: -term for key, term in terms.items()}, abs=1e-9)
        assert any(abs(term) > 0.01 for term in terms.values())


def test_a_run_gets_intervals_that_hold_its_terms(drawn_run: Path) -> None:
    (found,) = measure([drawn_run], resamples=400)
    assert found is not None
    assert found.steps == (0, 10, 20, 30)
    for i, total in enumerate(found.total):
        assert sum(part.series[i].value or 0 for part in found.parts) == pytest.approx(total.value, abs=1e-9)
    for part in found.parts:
        assert part.change.low is not None
        assert part.change.high is not None
        assert part.change.value is not None
        assert part.change.low <= part.change.value <= part.change.high
        assert part.series[0].value == 0
        assert part.with_detector is None


def test_runs_of_one_recipe_are_put_together_at_their_common_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(step: int, prompt: int, sample: int) -> Annotation:
        retried = sample < step / 10
        return {"correct": retried, **attempts_of("WR" if retried else "W")}

    runs = [write_run(tmp_path / name, monkeypatch, draw, steps=steps) for name, steps in
            (("a", (0, 10, 20)), ("b", (0, 20, 30)))]  # fmt: skip
    first, second, together = measure(runs, resamples=200)
    assert first is not None
    assert second is not None
    assert together is not None
    assert (first.steps, second.steps, together.steps) == ((0, 10, 20), (0, 20, 30), (0, 20))
    assert [part.change.value for part in together.parts] == pytest.approx([0, 0, 0.5, 0, 0, 0])
    assert together.factors["judged_accuracy"] == (0.0, 0.5)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"correct": None}, id="nobody judged"),
        pytest.param({"attempts": None, "n_attempts": None}, id="no attempt detector"),
        pytest.param({"text_kind": "short puzzle"}, id="one that was not measured on such text"),
    ],
)
def test_nothing_is_said_of_what_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    run = write_run(tmp_path / "run", monkeypatch, lambda *_: {"correct": True, **attempts_of("R")} | changes)
    assert measure([run], resamples=50) == [None]


def test_training_rollouts_are_not_compared(drawn_run: Path) -> None:
    assert measure([drawn_run], Selection("train")) == [None]


Rows = list[tuple[str, bool, bool, list[bool]]]
"""Prompt, whether it is the last step, whether the answer is right, and whether each attempt is."""

PERFECT = {"tp": 10**9, "fp": 0, "fn": 0}
POOR = {"tp": 8_000, "fp": 500, "fn": 1_500}


def policies(generator: random.Random, prompts: int = 150, samples: int = 4) -> Rows:
    """Two steps of a policy that answers what it hits; at the last it retries more."""
    rows: Rows = []
    for prompt, last in itertools.product(range(prompts), (False, True)):
        for _ in range(samples):
            path = [generator.random() < 0.3]
            while not path[-1] and len(path) < 12 and generator.random() < (0.8 if last else 0.2):
                path.append(generator.random() < 0.3)
            rows.append((str(prompt), last, path[-1], path))
    return rows


def found_by(score: dict[str, int], rows: Rows, generator: random.Random) -> Rows:
    """The same as a detector finds it: attempts missed, and others put in anywhere."""
    recall, precision = (score["tp"] / (score["tp"] + score[error]) for error in ("fn", "fp"))
    found: Rows = []
    for prompt, last, right, path in rows:
        kept = [hit for hit in path if generator.random() < recall]
        for _ in path:
            if generator.random() < recall * (1 - precision) / precision:
                kept.insert(generator.randrange(len(kept) + 1), generator.random() < 0.3)
        found.append((prompt, last, right, kept))
    return found


def terms_of(paths: detector_errors.Paths) -> Any:
    sums = detector_errors._sums(paths, paths.owner, paths.right)
    return detector_errors._terms(sums, np.ones(paths.prompts))


def test_paths_are_counted_as_the_annotations_are(drawn_run: Path) -> None:
    with annotations.connection(drawn_run, kind="eval", steps=[0, 30]) as database:
        rows = database.execute(detector_errors.PATHS.format(where=Selection().where, first=0, last=30)).fetchall()
    paths = detector_errors.Paths([(prompt, step == 30, right, path) for prompt, step, right, path in rows])
    found = counts(drawn_run, Selection(), [TOTAL, *FACTORS], steps=[0, 30])
    summed = detector_errors._sums(paths, paths.owner, paths.right).sum(axis=0)
    wanted = np.stack([found.sums[figure.key].sum(axis=0) for figure in FACTORS], axis=1)
    assert summed.tolist() == wanted.tolist()
    assert terms_of(paths).tolist() == pytest.approx(list(pair(found, 0, 30)[1].values()))


def test_a_detector_without_errors_changes_nothing() -> None:
    paths = detector_errors.Paths(policies(random.Random(0)))
    attempts = (paths.owner, paths.place, paths.right)
    same = detector_errors._with_errors(paths, attempts, 1.0, 1.0, np.random.default_rng(0))
    assert [one.tolist() for one in same] == [one.tolist() for one in attempts]
    simulated = detector_errors.simulated(paths, PERFECT, draws=100)
    assert simulated.mean(axis=0) == pytest.approx(terms_of(paths), abs=0.01)


def test_the_errors_of_a_detector_are_taken_out() -> None:
    generator = random.Random(1)
    rows = policies(generator)
    true = terms_of(detector_errors.Paths(rows))
    seen = detector_errors.Paths(found_by(POOR, rows, generator))
    simulated = detector_errors.simulated(seen, POOR, draws=100)
    decision, rest = list(PARTS).index("decision"), list(PARTS).index("rest")
    for part in (decision, rest):  # missed hits look like lucky guesses
        assert abs(terms_of(seen)[part] - true[part]) > 0.06
        assert abs(simulated.mean(axis=0)[part] - true[part]) < 0.6 * abs(terms_of(seen)[part] - true[part])
    low, high = np.quantile(simulated, [0.025, 0.975], axis=0)
    assert ((low < true) & (true < high)).all()
    assert simulated.sum(axis=1) == pytest.approx(
        np.array([terms_of_total(rows, weight) for weight in bootstrap.draws(seen.prompts, 100, 0)])
    )


def terms_of_total(rows: Rows, weight: Any) -> float:
    """The change of accuracy under these weights of the prompts, in the order of their names."""
    place = {name: i for i, name in enumerate(sorted({row[0] for row in rows}))}
    right = [sum(weight[place[row[0]]] * row[2] for row in rows if row[1] == last) for last in (False, True)]
    return float(right[1] - right[0]) / sum(weight[place[row[0]]] for row in rows if row[1])


@pytest.mark.parametrize(
    ("verifier", "carried"),
    [pytest.param("countdown", False, id="found by exact arithmetic"), pytest.param("math", True, id="free text")],
)
def test_errors_are_taken_out_in_free_text_alone(
    drawn_run: Path, monkeypatch: pytest.MonkeyPatch, verifier: str, carried: bool
) -> None:
    monkeypatch.setattr(detector_errors, "verifier_of", lambda row: verifier)
    monkeypatch.setattr(detector_errors, "DRAWS", 40)
    (drawn_run.parent / "again").symlink_to(drawn_run)
    monkeypatch.setattr(decomposition, "run_names", lambda runs: [str(run) for run in runs])
    runs = [drawn_run, drawn_run.parent / "again"]
    found = measure(runs, resamples=100)
    told = detector_errors.taken_out(runs, Selection(), found)
    assert len(told) == 3
    for before, after in zip(found, told, strict=True):
        assert before is not None
        assert after is not None
        assert [part.with_detector is not None for part in after.parts] == [carried] * len(PARTS)
        assert [part.series for part in after.parts] == [part.series for part in before.parts]
        if carried:
            summed = sum(part.with_detector.value or 0 for part in after.parts if part.with_detector is not None)
            assert summed == pytest.approx(after.total[-1].value, abs=0.05)


def counted(generator: np.random.Generator, prompts: int, samples: int = 4) -> Counts:
    """Two steps of a policy on problems of different difficulty, which loses some hits and guesses a little."""
    hard = generator.beta(2, 4, prompts)
    sums = {figure.key: np.zeros((prompts, 2, 2)) for figure in (TOTAL, *FACTORS)}
    for step, retry in enumerate((0.2, 0.8)):
        chance = np.repeat(np.minimum(1, hard * (1, 1.05)[step]), samples)
        prompt = np.repeat(np.arange(prompts), samples)
        hit, tried, going = np.zeros(len(chance), int), np.zeros(len(chance), int), np.ones(len(chance), bool)
        for attempt in range(1, 40):
            tried += going
            now = going & (generator.random(len(chance)) < chance)
            hit[now] = attempt
            going = going & ~now & (generator.random(len(chance)) < retry)
        got = hit > 0
        correct = generator.random(len(chance)) < np.where(got, 0.97, 0.03)
        misses, every = np.where(got, hit - 1, tried), np.ones(len(chance))
        retries = np.where(got, hit - 1, tried - 1)
        columns = {
            "judged_accuracy": (correct, every), "attempted": (every, every), "first_hit": (hit == 1, every),
            "retry_per_miss": (retries, misses), "hit_per_retry": (hit > 1, retries),
            "right_kept": (got & correct, got), "right_unseen": (~got & correct, ~got),
        }  # fmt: skip
        for key, parts in columns.items():
            for side, values in enumerate(parts):
                sums[key][:, step, side] = np.bincount(prompt, weights=values, minlength=prompts)
    return Counts([0, 1], [f"p{i:06}" for i in range(prompts)], prompts * samples, sums, [])


@pytest.mark.long
def test_intervals_hold_the_true_terms_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    true = pair(counted(generator, 200_000), 0, 1)[1]
    held = np.zeros(len(PARTS))
    for i in range(300):
        one = counted(generator, 128)
        terms = decomposition._terms(one, [0, 1], bootstrap.draws(128, 500, i))[1:, 1, 1:]
        low, high = np.quantile(terms, [0.025, 0.975], axis=0)
        held += (low <= list(true.values())) & (list(true.values()) <= high)
    shares = dict(zip(PARTS, held / 300, strict=True))
    assert shares.pop("attempting") == 1  # every rollout makes an attempt, so its term is exactly zero
    assert all(0.88 < share <= 0.99 for share in shares.values()), shares
