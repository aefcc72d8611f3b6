"""The command line: errors in one line, and the CSV of all records."""

import pandas as pd
import pytest

from bisenet.__main__ import main
from bisenet.runs.store import published, records_folder

pytestmark = pytest.mark.usefixtures("results")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --row table_2.bag", "did you mean 'table_2.bga'"),
        ("train --dataset street", "did you mean 'streets'"),
        ("train --scale shrot", "did you mean 'short'"),
        ("train --set iteration=3", "did you mean 'iterations'"),
        ("reproduce --only table_2_component", "did you mean 'table_2_components'"),
        ("train --dataset camvid --data-root nowhere", "nowhere"),
        ("reproduce --dataset cityscapes --data-root nowhere", "Cityscapes train not found"),
        ("reproduce --only tabel_2", "did you mean 'table_2'"),
        ("plan --only table_10", "unknown notebook 'table_10'"),
        ("plan --only quickstart --dataset nonsense", "unknown dataset 'nonsense'"),
        ("plan --only quickstart --seeds 0 0", "each once: two equal runs are no spread"),
        ("evaluate missing.safetensors", "no such file: missing.safetensors"),
        ("train --scale smoke --set crop=9999x9999", "larger than the image"),
        ("train --set lr=high", "lr is 'high', it must be of type float"),
        ("train --set crop=64", "crop is (64,)"),
        ("train --set lr=nan", "lr is nan"),
        ("train --checkpoint-seconds -1", "checkpoint_seconds is -1"),
        ("train --set lr", "--set takes FIELD=VALUE, without spaces, got 'lr'"),
        ("train --set momentum=2", "momentum 2.0; they must be in (0, 1), (0, 1] and [0, 1)"),
        ("train --set weight_decay=-1", "weight_decay is -1.0, it must be at least 0"),
        ("train --accelerator tpu", "unknown accelerator 'tpu'"),
        (
            "evaluate camvid",
            "the network has 11 classes, streets has 19; name the data set of its classes by --dataset",
        ),
        (f"train --scale smoke --seed {1 << 64}", "have 63 bits at most"),
        ("train --seed -1", "seed is -1"),
        ("train --data-root somewhere", "streets is drawn, not read"),
    ],
)
def test_errors_of_the_command_line(words, message, capsys):
    assert main(words.split()) == 1
    assert message in capsys.readouterr().err


def test_every_record_is_a_line_of_the_csv() -> None:
    """If this fails: python -m bisenet report"""
    table = pd.read_csv(records_folder().parent / "results.csv")
    runs = table[table["kind"] == "run"].set_index("hash")["miou"]
    records = published().records().values()
    assert runs.to_dict() == pytest.approx({record.hash: record.miou for record in records}, abs=1e-3)
    files = {path.name for path in (records_folder() / "speed").rglob("*.json")}
    assert files == {*table["file"][table["kind"] != "run"]}
