"""The protocols: what is published, what the words change, what is refused."""

import pytest

from bench.errors import BadRequest
from bench.tasks import TASKS
from eval.protocol import PAPER_SETTINGS, PROTOCOLS

QUICK, PAPER = PROTOCOLS["quick"], PROTOCOLS["paper"]


def test_the_papers_tables_are_whole():
    """Tables 13-15: eight tasks by three models; batches and rates within the search of section 4."""
    assert {task for _, task in PAPER_SETTINGS} == TASKS.keys() - {"wnli"}
    assert len(PAPER_SETTINGS) == 24
    assert {batch for batch, _ in PAPER_SETTINGS.values()} <= {8, 16, 32}
    assert all(1e-6 <= rate <= 1e-1 for _, rate in PAPER_SETTINGS.values())
    assert PAPER_SETTINGS["bert-base", "stsb"] == (32, 1.24e-4)
    assert PAPER_SETTINGS["roberta-large", "mnli"] == (16, 1.15e-6)
    assert (PAPER.epochs, PAPER.padding, PAPER.max_length) == (20, "max", 128)


def test_steps_and_epochs_replace_each_other():
    assert QUICK.with_words(epochs=3, steps=None).total_steps(100) == 3 * 4
    shorter = PAPER.with_words(steps=10)
    assert (shorter.steps, shorter.epochs, shorter.patience) == (10, None, None)
    assert QUICK.with_words(batch_size=None, dropout=None) == QUICK
    assert QUICK.steps_per_epoch(33) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"steps": 5, "epochs": 5}, "not both"),
        ({"steps": 0}, "--steps 0"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"accumulate": 5}, "1, 2, 4, 8, 16, 32"),
        ({"dropout": 1.0}, "--dropout 1.0"),
        ({"patience": 2}, "--epochs"),
    ],
)
def test_what_cannot_be_is_refused(words, told):
    with pytest.raises(BadRequest, match=told):
        QUICK.with_words(**words)
