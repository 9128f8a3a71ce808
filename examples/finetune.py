"""Fine-tune a sentence classifier with SparseGrad and the Hugging Face Trainer; save it; predict in a new process.

    python examples/finetune.py train   --model FOLDER_OR_HUB_ID --data cola/train.tsv --out my-model
    python examples/finetune.py predict --model FOLDER_OR_HUB_ID --data cola/validation.tsv --out my-model

The data is tab separated, with the columns sentence and label (0 or 1).
"""

import argparse
import csv
import json
from pathlib import Path

import pandas
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

import sparsegrad
from sparsegrad.trainer import SparseGradTrainerMixin


class SparseGradTrainer(SparseGradTrainerMixin, Trainer):
    """The Trainer, able to take the norm of COO gradients."""


def read(path: Path, tokenizer, limit: int) -> list[dict]:
    """Tokenised rows with labels."""
    table = pandas.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE).head(limit)
    encoded = tokenizer(table.sentence.tolist(), truncation=True, max_length=128, padding="max_length")
    return [
        {name: torch.tensor(column[row]) for name, column in encoded.items()} | {"labels": torch.tensor(label)}
        for row, label in enumerate(table.label.tolist())
    ]


def batches(rows: list[dict], size: int = 16):
    """Batches for calibration, in the order of the data."""
    for start in range(0, len(rows) - size + 1, size):
        chosen = rows[start : start + size]
        yield {name: torch.stack([row[name] for row in chosen]) for name in chosen[0]}


def train(model, rows: list[dict], out: Path) -> None:
    """Calibrate, convert, train the MLP linears and the head, save."""
    bases = sparsegrad.calibrate(model, batches(rows), steps=min(30, len(rows) // 16))
    sparsegrad.convert(model, bases, kept=0.01, execution="sd", accumulate=False)
    for name, parameter in model.named_parameters():
        layer = model.get_submodule(name.rpartition(".")[0])
        parameter.requires_grad_(isinstance(layer, sparsegrad.SparseGradLinear) or name.startswith("classifier"))
    settings = TrainingArguments(
        output_dir=str(out),
        num_train_epochs=1,
        per_device_train_batch_size=16,
        save_strategy="no",
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    optimizer = (sparsegrad.SparseGradOptimizer, {"lr": 3e-4})
    SparseGradTrainer(model, settings, train_dataset=rows, optimizer_cls_and_kwargs=optimizer).train()
    print("saved", sparsegrad.save(model, out))


def predict(model, rows: list[dict], out: Path) -> None:
    """Load what was saved into a fresh model; print the accuracy, write the logits."""
    sparsegrad.load(model, out)
    with torch.no_grad():
        chunks = [(model(**batch).logits, batch["labels"]) for batch in batches(rows)]
    logits, labels = torch.cat([c[0] for c in chunks]), torch.cat([c[1] for c in chunks])
    (out / "logits.json").write_text(json.dumps(logits.tolist()))
    print(f"accuracy {(logits.argmax(1) == labels).float().mean():.3f} on {len(labels)} sentences")


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=("train", "predict"))
    words.add_argument("--model", required=True)
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--limit", type=int, default=2000, help="sentences (default: %(default)s)")
    args = words.parse_args()
    torch.manual_seed(0)
    fresh = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=2).eval()
    examples = read(args.data, AutoTokenizer.from_pretrained(args.model), args.limit)
    {"train": train, "predict": predict}[args.what](fresh, examples, args.out)
