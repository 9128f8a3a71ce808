"""The Hugging Face Trainer trains a SparseGrad model: real tiny runs, clipped or not, accumulated, resumed."""

import warnings

import pytest
import torch

from sparsegrad import SparseGradOptimizer
from sparsegrad.trainer import SparseGradTrainerMixin

ROWS, STEPS = 16, 4


@pytest.fixture(autouse=True)
def _quiet():
    """Warnings that transformers and accelerate give on any CPU run are theirs; ours stay errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(transformers|accelerate|torch\.utils\.data|torch\.amp)\b")
        yield


@pytest.fixture
def train(architectures, converted, tmp_path):
    """train(...): a run of STEPS steps over fixed rows; returns the trainer, with norms as it logged them."""
    from transformers import Trainer, TrainingArguments

    class SparseGradTrainer(SparseGradTrainerMixin, Trainer):
        pass

    def make(*, arch="bert", resume=None, kept=0.05, mixin=True, folder="run", dtype=torch.float32, **options):
        arguments = TrainingArguments(
            output_dir=str(tmp_path / folder),
            **{
                "per_device_train_batch_size": 4,
                "max_steps": STEPS,
                "learning_rate": 1e-2,
                "logging_steps": 1,
                "save_strategy": "no",
                "report_to": "none",
                "disable_tqdm": True,
                "use_cpu": True,
                "seed": 3,
                "dataloader_pin_memory": False,
                **options,
            },
        )
        batch = architectures[arch].batch(size=ROWS)
        rows = [{name: tensor[at] for name, tensor in batch.items()} for at in range(ROWS)]
        model = converted(architectures[arch], kept=kept, dtype=dtype)
        trainer = (SparseGradTrainer if mixin else Trainer)(
            model=model,
            args=arguments,
            train_dataset=rows,
            optimizer_cls_and_kwargs=(SparseGradOptimizer, {"lr": 1e-2}),
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return make


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def norms(trainer):
    return [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]


def assert_same(ours, theirs, **tolerance):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0, 0.05])
def test_it_trains_logs_the_norm_and_clips(train, converted, max_grad_norm):
    """Against the same loop by hand, with the norm and the clipping written out."""
    trainer = train(max_grad_norm=max_grad_norm, lr_scheduler_type="constant")
    assert isinstance(trainer.optimizer.optimizer, SparseGradOptimizer)
    model = converted(kept=0.05, dtype=torch.float32).train()
    optimizer = SparseGradOptimizer(model.parameters(), lr=1e-2)
    by_hand = []
    for batch in trainer.get_train_dataloader():
        optimizer.zero_grad()
        model(**batch).loss.backward()
        values = [p.grad.values() if p.grad.is_sparse else p.grad for p in model.parameters()]
        norm = torch.cat([v.reshape(-1) for v in values]).norm()
        by_hand.append(norm.item())
        if max_grad_norm:
            for value in values:
                value.mul_(min(1.0, max_grad_norm / (norm.item() + 1e-6)))
        optimizer.step()
    assert max(by_hand) > 0.05 and len(by_hand) == STEPS
    assert norms(trainer) == pytest.approx(by_hand, rel=1e-4)
    assert_same(weights(trainer), dict(model.named_parameters()), rtol=1e-3, atol=1e-5)


def test_the_trainer_alone_cannot(train):
    """Why the mixin exists; if this fails, transformers has learnt it and the mixin can go."""
    with pytest.raises((RuntimeError, NotImplementedError)):
        train(mixin=False, max_grad_norm=0.0)


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_accumulated_steps_equal_the_large_batchs(train, max_grad_norm):
    """On a language model, whose loss the Trainer normalises over the whole step (a BERT classifier's it sums)."""
    options = {"arch": "llama", "max_grad_norm": max_grad_norm, "dtype": torch.float64}
    large = train(per_device_train_batch_size=4, **options)
    small = train(per_device_train_batch_size=2, gradient_accumulation_steps=2, **options)
    assert norms(small) == pytest.approx(norms(large), rel=1e-9)
    assert_same(weights(small), weights(large), rtol=0, atol=1e-7)


def test_a_resumed_run_ends_at_the_same_weights(train, tmp_path):
    whole = train(save_strategy="steps", save_steps=2, max_grad_norm=1.0)
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert checkpoint.is_dir()
    resumed = train(resume=str(checkpoint), folder="resumed", max_grad_norm=1.0)
    assert resumed.state.global_step == STEPS
    assert_same(weights(resumed), weights(whole))
    half = train(folder="half", max_steps=2, lr_scheduler_type="constant", max_grad_norm=1.0)
    assert any(not torch.equal(p, weights(whole)[name]) for name, p in weights(half).items())


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
def test_bf16_autocast(train, max_grad_norm):
    half, whole = (train(bf16=on, max_grad_norm=max_grad_norm) for on in (True, False))
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in half.model.parameters())
    assert norms(half) == pytest.approx(norms(whole), rel=0.2)
    assert norms(half) != norms(whole)


def test_gradient_checkpointing_changes_nothing(train):
    option = "activation_checkpointing" if "activation_checkpointing" in _fields() else "gradient_checkpointing"
    assert_same(weights(train(**{option: True})), weights(train()), rtol=0, atol=1e-6)


def _fields():
    from dataclasses import fields

    from transformers import TrainingArguments

    return {field.name for field in fields(TrainingArguments)}


def test_nothing_in_torch_or_transformers_is_patched(train):
    import transformers

    def surface():
        owners = (transformers.Trainer, torch.Tensor, torch.nn.Parameter, torch.nn.Module, torch.nn.utils)
        return [{k: v for k, v in vars(owner).items() if not k.startswith("__")} for owner in owners]

    before = surface()
    train(max_grad_norm=1.0)
    assert surface() == before
    ours = {name for name in vars(SparseGradTrainerMixin) if not name.startswith("__")}
    assert {name for name in ours if hasattr(transformers.Trainer, name)} == {"_clip_grad_norm", "_get_grad_norm"}
