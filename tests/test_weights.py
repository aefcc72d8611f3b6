"""The weights that came with the package."""

import torch

from bisenet import paper
from bisenet.data import DATASETS, open_dataset
from bisenet.evaluate import evaluate, miou
from bisenet.files import SHIPPED_SIZE, SHIPPED_WEIGHTS, shipped
from bisenet.model import BiSeNetV2
from bisenet.runs.plan import plan
from bisenet.runs.record import Record
from bisenet.runs.store import published


def test_shipped_weights():
    """Small enough to ship; the model card has the score of their record, and so have they on other scenes."""
    assert SHIPPED_WEIGHTS.stat().st_size <= 12e6
    card = (SHIPPED_WEIGHTS.parent / "README.md").read_text()
    record = published().find(plan(paper.row("table_2.ohem"), "streets", "long", 0))
    assert f"**{record.miou:.2f} % mIoU**" in card
    photographs = Record.load(SHIPPED_WEIGHTS.with_name("camvid.json"))
    assert f"**{photographs.miou:.2f} % mIoU**" in card and photographs.dataset == "camvid"
    assert BiSeNetV2.load(shipped("camvid")).classes == DATASETS["camvid"].classes
    scenes, model = open_dataset("streets", "tuning", size=SHIPPED_SIZE), BiSeNetV2.load(SHIPPED_WEIGHTS)
    assert model.seen_at == SHIPPED_SIZE
    matrix = evaluate(model, scenes, SHIPPED_SIZE, torch.device("cpu"), range(20)).numpy()
    assert abs(miou(matrix) - record.miou) < 6
