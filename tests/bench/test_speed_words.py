"""bench.speed on other models, texts and arithmetic, from end to end."""

from pathlib import Path

import pytest

from bench.speed import main
from tests.bench.speed_run import strict, words


@pytest.mark.parametrize(
    "line",
    [
        "--dtype bf16 --trainable all --task cola --data-dir {glue}",
        "--padding longest --task cola --data-dir {glue} --limit 8 --methods sparsegrad-sd meprop --kept 7",
        "--task cola --data-dir {glue} --methods sparsegrad-sd sparsegrad-compact --core 8 4 --fixed-basis shared",
    ],
)
def test_other_words_work_from_end_to_end(
    line: str, speed_model: Path, glue: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = line.format(glue=glue).split()
    assert main(words(speed_model, tmp_path / "out", "--json", "--quiet", *more)) == 0
    out, err = capfd.readouterr()
    told = strict(out)
    assert err == "" and all(row["status"] == "ok" for row in told["rows"])
    assert told["config"]["task"] == "cola"
    rows = {row["method"]: row for row in told["rows"]}
    if told["config"]["trainable"] == "all":
        assert rows["full"]["trainable_parameters"] > 2000 * 16, "the embeddings too"
        assert all(row["losses"][0] == pytest.approx(rows["full"]["losses"][0], rel=0.02) for row in told["rows"])
    if told["config"]["core"] is not None:
        # Five values and places a linear in fp32 and int32; two linears share each of the two pairs of slices.
        assert rows["sparsegrad-compact"]["adapter_bytes"] == 4 * (4 * 2 * 5 + (8 * 32 + 4 * 16) + (8 * 16 + 4 * 32))
        assert [each["basis"] for each in told["calibrations"]] == ["shared", "shared"], "one of them cut to the core"
    if told["config"]["kept"] == 7:
        assert rows["meprop"]["kept_entries"]["most"] == rows["sparsegrad-sd"]["kept_entries"]["least"] == 7


def test_dropout_does_not_part_equal_mathematics(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """sd over regular compares losses: with dropout it can only if both draw the same masks."""
    more = ("--json", "--quiet", "--methods", "sparsegrad-sd", "sparsegrad-regular", "--dropout", "0.3")
    assert main(words(speed_model, tmp_path / "out", *more)) == 0
    told = strict(capfd.readouterr().out)
    (pair,) = told["pairs"]
    assert pair["largest_loss_difference"] <= 1e-4
