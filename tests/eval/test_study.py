"""The question as values: the paper's settings, and the paper's protocol from end to end in small."""

import json

import pytest

from bench.errors import BadRequest
from eval.glue import main, parser
from eval.protocol import PAPER_SETTINGS
from eval.words import study_of


def study(*words):
    return study_of(parser().parse_args([*words, "--methods", "full", "lora"]))


@pytest.mark.parametrize(("model", "task"), [("bert-base", "stsb"), ("roberta-base", "cola"), ("roberta-large", "rte")])
def test_the_papers_protocol_takes_batch_rate_and_rank_from_its_tables(model, task):
    asked = study("--model", model, "--random-weights", "--task", task, "--protocol", "paper")
    batch, rate = PAPER_SETTINGS[model, task]
    made = asked.cell(task, "lora", seed=0, lr=asked.rates(task)[0])
    assert (made.protocol.batch_size, made.lr) == (batch, rate)
    assert made.lora_rank == (10 if model == "roberta-large" else 7)
    assert (made.protocol.epochs, made.protocol.max_length, made.protocol.padding) == (20, 128, "max")
    assert made.kept == 0.01 and asked.seeds == 3 and made.subject.dropout == 0.1


def test_what_is_given_goes_before_the_tables():
    words = ("--model", "bert-base", "--random-weights", "--task", "wnli", "--protocol", "paper")
    with pytest.raises(BadRequest, match="the paper gives no batch and rate for bert-base on wnli"):
        study(*words).rates("wnli")
    asked = study(*words, "--lr", "1e-5", "--batch-size", "8", "--epochs", "2")
    assert asked.rates("wnli") == (1e-5,) and asked.protocol_of("wnli", "full").batch_size == 8
    assert asked.protocol_of("wnli", "full").epochs == 2 and asked.protocol_of("wnli", "full").patience == 6


def test_a_search_under_the_papers_protocol_is_for_any_model(tiny_encoder):
    """Its rates and batches are searched, as the paper's were: none need be published."""
    shape = ("--model", str(tiny_encoder), "--random-weights", "--task", "wnli", "--max-length", "16")
    words = (*shape, "--protocol", "paper")
    asked = study(*words, "--tune", "8")
    made = asked.cell("wnli", "full", seed=0, lr=1e-4)
    assert (made.protocol.epochs, made.protocol.patience, made.protocol.padding) == (20, 6, "max")
    assert asked.trials("wnli", "full") == [] and len(asked.runs("wnli", "full", None)) == 3
    with pytest.raises(BadRequest, match="--accumulate 16 does not divide the batch of 8, which --tune may try"):
        study(*words, "--tune", "8", "--accumulate", "16")


def test_a_batch_is_cut_into_parts_of_its_own_not_of_the_protocols():
    words = ("--model", "minilm-l6", "--random-weights", "--task", "rte", "--batch-size", "48")
    made = study(*words, "--accumulate", "3").cell("rte", "full", seed=0, lr=1e-4)
    assert (made.protocol.batch_size, made.protocol.accumulate) == (48, 3)
    with pytest.raises(BadRequest, match="--accumulate 32 does not divide the batch of 48"):
        study(*words, "--accumulate", "32")


def test_every_method_has_the_same_trials():
    asked = study("--model", "minilm-l6", "--random-weights", "--task", "rte", "--lr", "1e-3", "1e-5", "1e-4")
    trials = {method: asked.trials("rte", method) for method in asked.methods}
    assert [cell.lr for cell in trials["full"]] == [cell.lr for cell in trials["lora"]] == [1e-5, 1e-4, 1e-3]
    reported = {cell.subject.seed for cell in asked.runs("rte", "full", None)}
    assert reported == {0, 1, 2} and not reported & {cell.subject.seed for cell in trials["full"]}
    assert {cell.scored_on for cell in trials["full"]} == {"held out"}


def test_the_papers_protocol_in_small(tiny_encoder, tiny_glue, tmp_path, capsys):
    """Epochs, early stopping on the slice, the best checkpoint scored, padding to the maximum."""
    words = ["--model", tiny_encoder, "--random-weights", "--data-dir", tiny_glue, "--task", "mrpc", "--max-length", 16]
    more = ["--protocol", "paper", "--epochs", 4, "--lr", 1e-2, "--batch-size", 8, "--seeds", 1, "--methods", "full"]
    argv = [str(word) for word in (*words, *more, "--out", tmp_path, "--quiet", "--json")]
    assert main(argv) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["metrics"].keys() == {"f1", "accuracy"} and 0 < row["steps"][0] <= 4 * 7
    record = json.loads(next((tmp_path / "glue").glob("*.json")).read_text())
    scores = dict(record["result"]["held_out_scores"])
    assert record["result"]["train_examples"] == 54 and len(scores) >= 6
    assert scores[record["result"]["best_step"]] == max(scores.values())
