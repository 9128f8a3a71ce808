"""What is trained on, what is held out, what is reported."""

import pytest
import torch

from bench.errors import BadRequest
from bench.tasks import TASKS
from eval.splits import Collator, read_splits
from eval.trainer import SeededSampler


@pytest.mark.parametrize("task", TASKS)
def test_the_held_out_slice_is_of_the_training_split_alone(tiny_glue, task):
    splits = read_splits(task, data_dir=tiny_glue)
    train, held_out = ({e.idx for e in part} for part in (splits.train, splits.held_out))
    assert len(held_out) == 6 and not train & held_out and train | held_out == set(range(60))
    assert list(splits.reported) == list(TASKS[task].splits[1:])
    assert all(len(part) == 21 for part in splits.reported.values())
    assert read_splits(task, data_dir=tiny_glue) == splits


def test_a_changed_label_or_limit_changes_the_fingerprint(tiny_glue, tmp_path):
    before = read_splits("sst2", data_dir=tiny_glue).fingerprint()
    assert read_splits("sst2", data_dir=tiny_glue, limit=50).fingerprint() != before
    (tmp_path / "sst2").mkdir()
    for split in ("train", "validation"):
        text = (tiny_glue / "sst2" / f"{split}.tsv").read_text()
        (tmp_path / "sst2" / f"{split}.tsv").write_text(text)
    assert read_splits("sst2", data_dir=tmp_path).fingerprint() == before
    validation = tmp_path / "sst2" / "validation.tsv"
    validation.write_text(validation.read_text().replace("\t1\t1\n", "\t0\t1\n"))
    assert read_splits("sst2", data_dir=tmp_path).fingerprint() != before


def write(folder, train, validation):
    (folder / "sst2").mkdir()
    for split, labels in (("train", train), ("validation", validation)):
        rows = "".join(f"text {at}\t{label}\t{at}\n" for at, label in enumerate(labels))
        (folder / "sst2" / f"{split}.tsv").write_text("sentence\tlabel\tidx\n" + rows)


def test_labels_that_teach_or_tell_nothing_are_refused(tmp_path):
    write(tmp_path, [0, 1] * 10, [1, 1, 1])
    with pytest.raises(BadRequest, match="every label of the split validation is 1"):
        read_splits("sst2", data_dir=tmp_path)


def test_too_few_examples_are_refused(tmp_path):
    write(tmp_path, [0, 1], [0, 1])
    with pytest.raises(BadRequest, match="10 or more are needed, give more of them"):
        read_splits("sst2", data_dir=tmp_path)


def test_a_limit_that_leaves_too_few_is_named(tmp_path):
    write(tmp_path, [0] * 12 + [1] * 12, [0, 1])
    with pytest.raises(BadRequest, match="3 training examples here; 10 or more are needed, raise --limit 3"):
        read_splits("sst2", data_dir=tmp_path, limit=3)
    with pytest.raises(BadRequest, match="of the split train is 0, two are needed; raise --limit 12"):
        read_splits("sst2", data_dir=tmp_path, limit=12)


@pytest.mark.parametrize(
    ("row", "where", "what"),
    [("text\t2\t5", "train.tsv:3", "label is '2'"), ("text\t1", "train.tsv:3", "2 tab-separated fields")],
)
def test_an_error_names_file_and_line(tmp_path, row, where, what):
    write(tmp_path, [0, 1] * 10, [0, 1])
    (tmp_path / "sst2" / "train.tsv").write_text(f"sentence\tlabel\tidx\nfine\t1\t0\n{row}\n")
    with pytest.raises(BadRequest, match=what) as refused:
        read_splits("sst2", data_dir=tmp_path)
    assert where in str(refused.value)


def test_the_order_is_of_seed_and_epoch_alone():
    lengths = [(at * 7) % 23 + 1 for at in range(100)]

    def order(seed, epoch, *, group=True):
        sampler = SeededSampler(lengths, batch_size=8, seed=seed, group=group)
        sampler.set_epoch(epoch)
        return list(sampler)

    for group in (True, False):
        assert order(1, 2, group=group) == order(1, 2, group=group)
        assert sorted(order(1, 2, group=group)) == list(range(100))
        assert len({tuple(order(seed, epoch, group=group)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6
    spread = [max(lengths[i] for i in at) - min(lengths[i] for i in at) for at in _batches(order(1, 2))]
    loose = [max(lengths[i] for i in at) - min(lengths[i] for i in at) for at in _batches(order(1, 2, group=False))]
    assert sum(spread) < sum(loose) / 2
    assert lengths[order(1, 2)[0]] == max(lengths)


def _batches(order):
    return [order[at : at + 8] for at in range(0, len(order), 8)]


def test_padding_to_the_longest_or_to_the_maximum():
    rows = [{"input_ids": [2, 5, 3], "token_type_ids": None, "labels": 1}] * 2
    assert Collator(pad_id=0, padding="longest", max_length=8)(rows)["input_ids"].shape == (2, 3)
    batch = Collator(pad_id=0, padding="max", max_length=8)(rows)
    assert batch["input_ids"].shape == (2, 8) and int(batch["attention_mask"].sum()) == 6
    assert torch.equal(batch["labels"], torch.tensor([1, 1]))
