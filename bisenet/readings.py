"""Readings: how the points that the paper's text leaves open are answered, as data.

`PAPER` is what the GFLOPs of the paper's own tables say: counted by its rule (`bisenet.cost`), this network meets 34
of the 36 printed figures to the last digit. It was found by looking for that agreement, which is evidence for the
reading and no test of it; the notebook `gflops_ledger` tells how. `COINCHEUNG` and `MMSEGMENTATION` are the answers
of the two public implementations whose weights `python -m bisenet convert` reads.

Points that are no field, since all answer them alike, and the evidence for what `bisenet.model` does:

* *lambda* scales the stem (64 lambda) and stage 3 (128 lambda), stages 4 and 5 keep 64 and 128: the caption of
  Table 3a, and its GFLOPs.
* *The depth multiplier d* multiplies the number of gather-and-expansion layers of each stage (2, 2, 4): Table 5b.
* *Without double depth-wise* a layer with stride 2 has one 5x5 depth-wise convolution: Table 3b.
* *Without gather layer* the 3x3 of every gather-and-expansion layer becomes 1x1: Table 3b, 15.78.
* *Sum, concat, single branches.* Each branch goes through one separable layer (depth-wise 3x3, 1x1, each with batch
  normalisation) first; sum and concat end in one 3x3 convolution: Table 2.
* *Other networks as Semantic Branch* are whole, at the resolution of ours, and everything from the last stage of the
  Detail Branch to the head is 512 channels wide (`bisenet.backbones`): Table 6.
* *Initialisation.* "Kaiming normal" in fan-in mode, for depth-wise convolutions the only one of the two modes that
  keeps the variance.
"""

import dataclasses

from bisenet.config import choose, settle

# The values that fields of a reading may have.
VALUES: dict[str, tuple[object, ...]] = {
    "gather": ("expands", "keeps"),
    "stem_kernel": (1, 3),
    "aggregation_upsampling": ("bilinear", "nearest"),
    "booster_head": ("paper", "coincheung", "mmsegmentation"),
}


@dataclasses.dataclass(frozen=True)
class Reading:
    """One answer to each open point; the defaults are the paper's. ValueError where a value means nothing."""

    # Figure 5. "expands": the 3x3 convolution widens C to eC. "keeps": it stays C -> C, and the first depth-wise
    # convolution widens. How much Table 3c grows per unit of e; the second would grow by a tenth of that.
    gather: str = "expands"
    # Figure 4a, the convolution after the concatenation: Table 3a (lambda).
    stem_kernel: int = 1
    # Figure 5, a ReLU after the last depth-wise convolution: cheap, but with it more than half of the figures lose
    # their last digit.
    depthwise_relu: bool = False
    # Figure 4b, batch normalisation and ReLU after the last convolution: none are drawn; too cheap to be counted.
    context_norm: bool = False
    # Figure 6, a ReLU after the last convolution: none is drawn; a figure more is lost with it than won.
    aggregation_relu: bool = False
    # Figure 6, a bias in the two 1x1 convolutions: as others of this network, none.
    aggregation_bias: bool = False
    # Figure 6, both enlargements: as in Figure 7; interpolation costs nothing by the paper's rule.
    aggregation_upsampling: str = "bilinear"
    # Gather-and-expansion layers with stride 1 and e = 1 between aggregation and head, at 1/8. Neither text nor
    # figures have them, all 36 GFLOPs do: Table 5a (growth with alpha), Table 3b (without gather layer), Table 6.
    refinement: int = 2
    # Figure 7, C_t: 64 fits every row at alpha = 1, 256 every row with alpha > 1 (Table 5a, Large).
    head_channels: int = 64
    wide_head_channels: int = 256
    # Section 4.4: booster heads as in Figure 7 with C_t = 64 or 256; nothing counts them.
    booster_head: str = "paper"

    def __post_init__(self) -> None:
        settle(self)
        for name, values in VALUES.items():
            if getattr(self, name) not in values:
                raise ValueError(f"Reading: {name} is {getattr(self, name)!r}, not one of {values}")
        for name, least in (("refinement", 0), ("head_channels", 1), ("wide_head_channels", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"Reading: {name} is {value}, it must be at least {least}")


PAPER = Reading()
MMSEGMENTATION = Reading(
    gather="keeps",
    stem_kernel=3,
    depthwise_relu=True,
    context_norm=True,
    aggregation_relu=True,
    aggregation_bias=True,
    refinement=0,
    head_channels=1024,
    wide_head_channels=1024,
    booster_head="mmsegmentation",
)
COINCHEUNG = dataclasses.replace(
    MMSEGMENTATION, aggregation_bias=False, aggregation_upsampling="nearest", booster_head="coincheung"
)
READINGS = {"paper": PAPER, "coincheung": COINCHEUNG, "mmsegmentation": MMSEGMENTATION}


def named(name: str) -> Reading:
    """A reading by its name; ValueError with near matches for an unknown one."""
    return READINGS[choose("reading", name, READINGS)]
