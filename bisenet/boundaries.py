"""How far pixels are from the boundaries between labels: what "spatial detail" is measured by."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from bisenet.data import IGNORE

RADIUS = 4  # pixels of the labels: how near to a boundary counts as near


def boundary_distance(labels: np.ndarray) -> np.ndarray:
    """How far each pixel of (H, W) labels is from a boundary, in pixels: float (H, W).

    The two pixels on either side of a boundary are at 0. Ignored pixels are NaN and make no boundary with their
    neighbours: what lies there is not known. Without any boundary all others are infinitely far.
    """
    edge = np.zeros(labels.shape, dtype=bool)
    for here, there in (((slice(1, None),), (slice(-1),)), ((..., slice(1, None)), (..., slice(-1)))):
        first, second = labels[here], labels[there]
        differ = (first != second) & (first != IGNORE) & (second != IGNORE)
        edge[here] |= differ
        edge[there] |= differ
    distance = distance_transform_edt(~edge) if edge.any() else np.full(labels.shape, np.inf)
    return np.where(labels == IGNORE, np.nan, distance)
