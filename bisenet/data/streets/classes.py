"""The 19 classes of Cityscapes that are scored, in the order of their train ids."""

import numpy as np
import torchvision

SCORED = [each for each in torchvision.datasets.Cityscapes.classes if not each.ignore_in_eval]
CLASSES: tuple[str, ...] = tuple(each.name for each in SCORED)
PALETTE: np.ndarray = np.array([each.color for each in SCORED], dtype=np.uint8)
(ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR,
 TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE) = range(19)  # fmt: skip
VOID = 255
