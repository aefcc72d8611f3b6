"""Our networks and those that a user could take instead, which Figure 1 and Table 7 compare: `tables/networks.csv`.

All have random weights, which leave the speed as it is: no activation becomes denormal or infinite; weights of yours
can be timed beside them (`of_file`). The others come from the packages `pytorchcv` (an optional extra) and
`torchvision`; a note says where one is not quite what Table 7 names.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import segmentation

from bisenet import paper, readings
from bisenet.config import Size, choose
from bisenet.cost import PAPER_FRAME, Cost, count
from bisenet.model import BiSeNetV2, ModelConfig
from bisenet.runs.transfer import fingerprint

FRAME: Size = PAPER_FRAME  # Section 5, Inference: the practical input size
OUR_RATIO = 0.5  # gamma of Table 7: the side of what the network sees, of that of the frame
CLASSES = 19  # Cityscapes


@dataclasses.dataclass(frozen=True)
class Network:
    """`builder` is its name in `package`, for our own a row of an ablation; `method` and `backbone` its row of Table 7.

    A network that is not in Table 7 has no method. `ratio`: the side of what it sees, of that of the frame, where
    Table 7 does not say it.
    """

    name: str
    package: str  # bisenet, reading (a public one of this network), pytorchcv, torchvision; "file": a path of weights
    builder: str
    method: str = ""
    backbone: str = "no"
    note: str = ""
    ratio: float = OUR_RATIO

    @property
    def ours(self) -> bool:
        return self.package == "bisenet"

    @property
    def built(self) -> str:
        """What it is, for a record: package and builder, of a file its hash."""
        return f"{self.package} {fingerprint(self.builder) if self.package == 'file' else self.builder}"

    @property
    def printed(self) -> dict[str, Any]:
        """Its row of Table 7 as printed, empty if there is none."""
        table = paper.published("table_7")
        rows = table[(table["method"] == self.method) & (table["backbone"] == self.backbone)].to_dict("records")
        return {str(column): value for column, value in rows[0].items()} if rows else {}

    def seen_of(self, frame: Size = FRAME) -> Size:
        """(height, width) of what it sees of a frame, by Table 7, or `ratio`."""
        ratio = float(self.printed.get("ratio", self.ratio))
        return round(frame[0] * ratio), round(frame[1] * ratio)


def _network(line: dict[str, Any]) -> Network:
    return Network(**line | {"ratio": float(line["ratio"] or OUR_RATIO)})


NETWORKS = tuple(map(_network, paper.lines("networks")))


def public(reading: str) -> ModelConfig:
    """The network of Table 2's last row as a public implementation reads it, a name of `readings.READINGS`."""
    model = paper.row("table_2.ohem").model
    return dataclasses.replace(model, num_classes=CLASSES, reading=readings.named(reading))


def of_file(weights: Path) -> Network:
    """A network of yours, to be timed as the others are; ValueError if it is none, or of another number of classes."""
    if (number := BiSeNetV2.load(weights).config.num_classes) != CLASSES:
        raise ValueError(f"{weights} has {number} classes; networks are timed with {CLASSES}, those of Cityscapes")
    return Network(weights.name, "file", str(weights))


def chosen(names: Sequence[str] | None = None) -> list[Network]:
    """The networks of these names, or all, in our order; ValueError with near matches for an unknown one."""
    known = [network.name for network in NETWORKS]
    wanted = [choose("network", name, known) for name in (known if names is None else names)]
    return [network for network in NETWORKS if network.name in wanted]


class OneTensor(nn.Module):
    """A network of torchvision that answers with its logits, not with a dictionary of them."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)["out"]


def build(network: Network, size: Size) -> nn.Module:
    """Images (N, 3, *size) -> logits (N, K, h, w), in `eval()`; some are built for one size, a multiple of 32.

    ModuleNotFoundError where the package is not installed.
    """
    if network.package == "file":
        return BiSeNetV2.load(network.builder)
    if network.package == "bisenet":
        config = dataclasses.replace(paper.row(network.builder).model, num_classes=CLASSES)
        return BiSeNetV2(config).eval()
    if network.package == "reading":
        return BiSeNetV2(public(network.builder)).eval()
    if network.package == "torchvision":
        maker = getattr(segmentation, network.builder)
        return OneTensor(maker(weights=None, weights_backbone=None, num_classes=CLASSES)).eval()
    try:
        from pytorchcv.model_provider import get_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{network.name} comes from a package that is not installed ({error}): pip install -e '.[peers]'"
        ) from error
    return get_model(network.builder, num_classes=CLASSES, in_size=size, fixed_size=True, aux=False).eval()


def cost(network: Network, frame: Size = FRAME) -> Cost:
    """What a network costs on what it sees of a frame (`cost.count`), without the resizing of frame and logits."""
    size = network.seen_of(frame)
    without_memory = contextlib.nullcontext() if network.package == "file" else torch.device("meta")
    with without_memory:
        return count(build(network, size), size)
