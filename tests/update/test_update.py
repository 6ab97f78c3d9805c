"""The update against plain TRL's on the same rollouts: the same loss and gradient for every layout and loss type."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from r1rl.recipe import load as recipe
from r1rl.train import main as train
from r1rl.update.batching import Batching, Cost
from r1rl.update.importance import MODES, Correction

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import train_both_ways  # noqa: E402  (tests are no package)
from made_up_batch import batch  # noqa: E402
from train_both_ways import CELLS, LIMIT, SETUPS  # noqa: E402

TINY = ROOT / "recipes" / "tiny" / "countdown.yaml"
TOKENS_ONLY, PAIRS_ONLY = Cost(1.0, 0.0), Cost(0.0, 1.0)

LAYOUTS = {
    "flat, one pass": Batching(10_000, True, True, TOKENS_ONLY),
    "flat, several passes": Batching(60, True, True, TOKENS_ONLY),
    "flat, a group in parts": Batching(20, True, True, TOKENS_ONLY),
    "flat, worked examples": Batching(10_000, True, True, TOKENS_ONLY),
    "flat, worked examples in several passes": Batching(80, True, True, TOKENS_ONLY),
    "masked": Batching(100, False, True, TOKENS_ONLY),
    "rows alone": Batching(60, False, True, PAIRS_ONLY),
}
LOSSES = {
    "grpo": {"loss_type": "grpo"},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dapo": {"loss_type": "dapo"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0},
    "sapo": {"loss_type": "sapo"},
    "vespo": {"loss_type": "vespo"},
    "luspo": {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "old and unsure samples masked": {"loss_type": "grpo", "off_policy_mask_threshold": 0.5},
    "high entropy only": {"loss_type": "dapo", "top_entropy_quantile": 0.5},  # a quantile over all entropies
}


def build(small_run, *overrides):
    loaded = recipe.load(TINY, [*small_run, *overrides])
    return train.build_trainer(loaded, train.open_folder(loaded), *train.find_model(loaded))[0]


@pytest.fixture(scope="module")
def shared(small_base, tmp_path_factory):
    """One trainer for the whole table; what the table varies is read at every loss."""
    runs = tmp_path_factory.mktemp("runs")
    settings = {
        "model_name_or_path": small_base, "runs_dir": runs, "prompts_per_step": 4, "num_generations": 4, "max_steps": 3,
        "max_completion_length": 48, "heldout_size": 2, "train_size": 8,
    }  # fmt: skip
    return build([word for key, value in settings.items() for word in (f"--{key}", str(value))])


@pytest.fixture
def trainer(shared, monkeypatch):
    shared.step_metrics.clear()
    monkeypatch.setattr(shared, "current_gradient_accumulation_steps", 1, raising=False)
    return shared


def parts_of(inputs, count):
    """Micro-batches of whole groups."""
    size = len(inputs["advantages"]) // count
    return [
        {key: value if value.dim() == 0 else value[size * i : size * (i + 1)] for key, value in inputs.items()}
        for i in range(count)
    ]


def loss_and_gradient(trainer, inputs, micro_batches=1):
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = micro_batches
    losses = []
    for part in parts_of(inputs, micro_batches):
        loss = trainer._compute_loss(trainer.model, part)
        trainer.accelerator.backward(loss)
        losses.append(loss.item())
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    return sum(losses), torch.cat([p.grad.flatten() for p in trained])


def assert_same_as_upstream(trainer, inputs, micro_batches=1):
    ours = loss_and_gradient(trainer, inputs, micro_batches)
    metrics = {name: values[-1] for name, values in trainer.step_metrics.items()}
    trainer._can_score = False
    try:
        theirs = loss_and_gradient(trainer, inputs, micro_batches)
    finally:
        trainer._can_score = True
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5, rel=1e-5)
    assert theirs[1].norm() > 1e-4
    assert (ours[1] - theirs[1]).norm() / theirs[1].norm() < 1e-5
    return metrics


def scored(trainer, inputs):
    """The current policy's log-probabilities of a batch."""
    with torch.no_grad():
        ids, mask = (torch.cat([inputs[f"prompt_{x}"], inputs[f"completion_{x}"]], 1) for x in ("ids", "mask"))
        return trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, inputs["completion_ids"].shape[1])[
            0
        ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("beta", [0.0, 0.05], ids=["no KL", "KL"])
@pytest.mark.parametrize("iteration", ["first iteration", "second iteration"])
def test_loss_and_gradient_equal_upstream(trainer, monkeypatch, iteration, beta, loss, layout):
    monkeypatch.setattr(trainer, "_batching", LAYOUTS[layout])
    monkeypatch.setattr(trainer, "beta", beta)
    for key, value in LOSSES[loss].items():
        monkeypatch.setattr(trainer, key, value)
    examples = 20 if "worked examples" in layout else 0
    inputs = batch(beginning=examples)
    noise = torch.Generator().manual_seed(2)
    if iteration == "second iteration":  # the policy is no longer the one that sampled
        inputs["old_per_token_logps"] = scored(trainer, inputs) + 0.3 * torch.randn(12, 20, generator=noise)
    if beta:
        inputs["ref_per_token_logps"] = -2 + torch.randn(12, 20, generator=noise)
    metrics = assert_same_as_upstream(trainer, inputs)
    whole = beta or "high entropy" in loss  # then every row carries loss
    assert metrics["update/row_share"] == pytest.approx(1.0 if whole else 8 / 12)
    if layout in ("flat, one pass", "flat, several passes"):
        assert metrics["update/useful_tokens_share"] == 1.0
    elif layout == "flat, worked examples":
        assert metrics["update/useful_tokens_share"] == 1.0  # they are forwarded once, and needed once


@pytest.mark.parametrize("micro_batches", [2, 4])
@pytest.mark.parametrize("loss", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo"])
def test_accumulated_gradients_equal_upstream(trainer, monkeypatch, loss, micro_batches):
    monkeypatch.setattr(trainer, "_batching", LAYOUTS["flat, several passes"])
    monkeypatch.setattr(trainer.args, "steps_per_generation", 1)
    for key, value in LOSSES[loss].items():
        monkeypatch.setattr(trainer, key, value)
    assert_same_as_upstream(trainer, batch(groups=4), micro_batches)


def test_gradients_of_an_adapter_equal_upstream(small_run, monkeypatch):
    pytest.importorskip("peft")
    trainer = build(small_run, "--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "q_proj", "down_proj")
    with torch.no_grad():  # a fresh adapter's B is zero, and then A has no gradient
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(0))
    for layout in ("flat, several passes", "masked"):
        monkeypatch.setattr(trainer, "_batching", LAYOUTS[layout])
        for beta in (0.0, 0.05):
            trainer.beta = beta
            inputs = batch()
            if beta:
                inputs["ref_per_token_logps"] = torch.full(inputs["completion_ids"].shape, -2.0)
            assert_same_as_upstream(trainer, inputs)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_no_gradient(small_run, monkeypatch, reentrant):
    inputs = batch()
    plain = loss_and_gradient(build(small_run), inputs)
    again = build(small_run)
    again.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    monkeypatch.setattr(again, "_batching", LAYOUTS["flat, several passes"])
    checkpointed = loss_and_gradient(again, inputs)
    assert (checkpointed[1] - plain[1]).norm() / plain[1].norm() < 1e-5


def test_rows_without_signal_are_not_forwarded(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "_batching", LAYOUTS["rows alone"])
    inputs = batch()
    widths = []
    handle = trainer.model.model.register_forward_pre_hook(
        lambda _, args, kwargs: widths.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    loss_and_gradient(trainer, inputs)
    assert sum(rows for rows, _ in widths) == 12 - 4 - 1  # without the second group and the empty completion
    widths.clear()
    inputs["advantages"].zero_()
    _, gradient = loss_and_gradient(trainer, inputs)  # no signal at all: one pass of one token, for a graph
    assert widths == [(1, 1)]
    assert gradient.count_nonzero() == 0
    handle.remove()


def test_metrics_come_once_and_from_all_passes(trainer, monkeypatch):
    seen = []
    for layout in ("flat, one pass", "flat, a group in parts"):
        monkeypatch.setattr(trainer, "_batching", LAYOUTS[layout])
        trainer.step_metrics.clear()
        loss_and_gradient(trainer, batch())
        seen.append({name: list(values) for name, values in trainer.step_metrics.items()})
    shares = [metrics.pop("update/useful_tokens_share") for metrics in seen]
    assert shares[0] == [1.0]
    assert 0.5 < shares[1][0] < 1
    assert seen[0].keys() == seen[1].keys()
    for name, values in seen[0].items():
        assert seen[1][name] == pytest.approx(values, abs=1e-5), name


def test_the_entropy_metric_estimates_what_was_not_forwarded_from_the_samples(trainer):
    inputs = batch()
    inputs["advantages"].zero_()
    loss_and_gradient(trainer, inputs)
    assert trainer.step_metrics["entropy"] == [pytest.approx(1.0)]  # every sampled log-probability was -1
    assert trainer.step_metrics["update/row_share"] == [0.0]


def test_what_the_backward_pass_keeps_does_not_grow_with_the_batch(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "_batching", LAYOUTS["flat, several passes"])
    peaks = []
    for groups in (3, 12):
        kept, peak = {}, 0

        def keep(tensor, kept=kept):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = kept.get(storage.data_ptr(), 0) or storage.nbytes()
            return tensor

        backward = trainer.accelerator.backward

        def measured(loss, kept=kept, backward=backward, **kwargs):
            nonlocal peak
            peak = max(peak, sum(kept.values()))
            backward(loss, **kwargs)
            kept.clear()

        with monkeypatch.context() as patch, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            patch.setattr(trainer.accelerator, "backward", measured)
            loss_and_gradient(trainer, batch(groups=groups))
        peaks.append(peak)
    assert peaks[1] < 2 * peaks[0]  # prompts are longer there, and of the loss itself a little is kept for each row


class Largest(TorchDispatchMode):
    """Counts the elements of the largest tensor that any operation makes, forward and backward."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(made) if isinstance(t, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return made


def test_the_largest_tensor_does_not_grow_with_the_vocabulary_times_the_batch(small_run, monkeypatch):
    """Logits are the largest: of one pass at most, where upstream has those of every row."""
    trainer = build(small_run)
    vocabulary, tokens = 4096, 200
    trainer.model.resize_token_embeddings(vocabulary)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    monkeypatch.setattr(trainer, "_batching", Batching(tokens, True, True, TOKENS_ONLY))
    found = {}
    for trainer._can_score in (True, False):
        for rows in (16, 32, 64):
            inputs = batch(groups=rows // 4)
            with Largest() as largest:
                trainer.accelerator.backward(trainer._compute_loss(trainer.model, inputs))
            found[trainer._can_score, rows] = largest.elements
    assert max(found[True, rows] for rows in (16, 32, 64)) <= 1.1 * tokens * vocabulary
    for rows in (16, 32, 64):
        assert found[False, rows] >= rows * 20 * vocabulary  # every completion, padded


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", ["grpo", "dapo", "dr_grpo"])
def test_the_loss_is_corrected_for_a_sampler_in_another_number_format(trainer, monkeypatch, mode, loss):
    """As upstream corrects for vLLM, though the rows are scored in several passes; a row without advantage is not."""
    inputs = batch(groups=2)
    policy, mask = scored(trainer, inputs), inputs["completion_mask"]
    noise = torch.randn(policy.shape, generator=torch.Generator().manual_seed(1))
    inputs["sampling_per_token_logps"] = policy + 0.4 * noise
    inputs["advantages"] = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.5, -0.5])
    correction = Correction(mode, 0.8, 1.25)
    weights, outside = correction.weights(policy, inputs["sampling_per_token_logps"], mask)
    assert outside[4:].any(), "else bounds could be ignored"
    for key, value in {"loss_type": loss, "_correction": correction, "sampling_dtype": torch.bfloat16}.items():
        monkeypatch.setattr(trainer, key, value)
    monkeypatch.setattr(trainer, "_batching", Batching(40, True, True, TOKENS_ONLY))
    monkeypatch.setattr(trainer.rollouts, "step", trainer.state.global_step)
    ours = loss_and_gradient(trainer, inputs)
    expected = outside[4:][mask[4:].bool()] if mode.startswith("token") else outside[4:]
    assert trainer.step_metrics["sampling/clipped_share"] == [pytest.approx(expected.float().mean().item())]
    assert trainer.step_metrics["sampling/kl"][0] > 0
    monkeypatch.setattr(trainer, "_can_score", False)
    monkeypatch.setattr(trainer, "use_vllm", True)
    theirs = loss_and_gradient(trainer, inputs | {"importance_sampling_ratio": weights})
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5, rel=1e-5)
    assert (ours[1] - theirs[1]).norm() / theirs[1].norm() < 1e-5
    monkeypatch.setattr(trainer, "use_vllm", False)
    plain = loss_and_gradient(trainer, inputs)
    assert (plain[1] - theirs[1]).norm() / theirs[1].norm() > 1e-2, "else the correction could be missing"


def assert_trained_alike(result):
    assert result["moved"] > 1e-3
    assert result["difference"] / result["moved"] < 1e-4
    assert result["first_gradient"] < LIMIT
    assert list(result["cells"]) == CELLS
    assert {cell: apart for cell, apart in result["cells"].items() if not apart < LIMIT} == {}
    assert result["steps"] == result["schedule"] == [3, 3]
    # The second step has no signal anywhere: nothing moves, and the schedule goes on.
    assert result["learning_rates"][0] == pytest.approx(result["learning_rates"][1])
    assert len(set(result["learning_rates"][0])) == 3


@pytest.mark.parametrize("iterations", [1, 2])
def test_real_steps_equal_upstreams(small_run, tmp_path, iterations):
    words = ["--per_device_train_batch_size", "8", "--num_iterations", str(iterations)]
    assert_trained_alike(train_both_ways.compare(tmp_path, [*small_run, *words]))


SEVERAL_STEPS = ["--steps_per_generation", "4", "--per_device_train_batch_size", "2"]


def assert_several_steps_alike(result):
    assert result["sampled"] == [1, 1]
    assert result["steps"] == result["schedule"] == [3, 3]
    assert result["moved"] > 1e-3
    assert result["first_gradient"] < LIMIT
    assert result["difference"] / result["moved"] < LIMIT


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_several_steps_of_one_sampling_equal_upstreams(small_run, tmp_path, loss, iterations):
    words = [word for key, value in train_both_ways.LOSSES[loss].items() for word in (f"--{key}", str(value))]
    words += ["--num_iterations", str(iterations)]
    assert_several_steps_alike(train_both_ways.compare(tmp_path, [*small_run, *SEVERAL_STEPS, *words]))


@pytest.mark.processes
@pytest.mark.parametrize("iterations", [pytest.param(1, marks=pytest.mark.long), 2])
def test_several_steps_of_one_sampling_equal_upstreams_on_two_processes(small_run, tmp_path, iterations):
    words = [*small_run, *SEVERAL_STEPS, "--num_iterations", str(iterations)]
    words[words.index("--per_device_train_batch_size") + 1] = "1"
    assert_several_steps_alike(train_both_ways.start(tmp_path, words, processes=2))


@pytest.mark.processes
@pytest.mark.parametrize(
    "setup",
    [
        pytest.param(setup, marks=[] if setup == "ZeRO-3 x2" else pytest.mark.long)
        for setup in SETUPS
        if not setup.startswith("1 process")
    ],
)
def test_real_steps_of_two_processes_equal_upstreams(small_run, tmp_path, setup):
    """The first process has no signal in the first step, the second has, and more tokens in the third."""
    processes, stage, lora = SETUPS[setup]
    if stage:
        pytest.importorskip("deepspeed")
    if lora:
        pytest.importorskip("peft")
    result = train_both_ways.start(tmp_path, small_run, processes=processes, stage=stage, lora=lora)
    assert_trained_alike(result)
    assert result["world_size"] == 2
