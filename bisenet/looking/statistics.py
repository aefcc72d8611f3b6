"""Whether activation maps are near the boundaries of the labels: ratios to chance, with their errors."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812, the name everybody knows

from bisenet.config import Size
from bisenet.dataset import IGNORE, PairDataset
from bisenet.looking.explain import DETAIL, enlarge, maps
from bisenet.model import BiSeNetV2
from bisenet.report.verdict import Gain, gain, mean
from bisenet.runs.boundaries import RADIUS, boundary_distance

LARGE = 0.05  # of the labelled pixels of an image: the classes whose maps are measured


def boundary_ratio(each: np.ndarray, distance: np.ndarray, radii: Sequence[float] = (RADIUS,)) -> np.ndarray:
    """Share of a map within some radii, in pixels, of a boundary, over the share that a shuffled map has there.

    1 is chance. `distance`, (H, W), is that of `boundary_distance`; the map, none of it negative, may be coarser. What
    a map has there when its counted pixels are permuted is, in the mean of all permutations, the share of the counted
    pixels that lie there, so nothing is drawn. NaN where the map is zero, and where there is no boundary.
    """
    counted = ~np.isnan(distance)
    mass, far = enlarge(each, distance.shape)[counted].astype(np.float64), distance[counted]
    if not mass.any() or np.isinf(far).all():
        return np.full(len(radii), np.nan)
    return np.array([mass[far <= radius].mean() / mass.mean() for radius in radii])


def boundary_ratios(
    model: BiSeNetV2,
    dataset: PairDataset,
    indices: Iterable[int],
    size: Size,
    methods: Sequence[str] = ("gradcam",),
    radii: Sequence[float] = (RADIUS,),
) -> pd.DataFrame:
    """`boundary_ratio` of the Detail Branch's stages: columns `image, category, method, stage, radius, ratio, coarse`.

    There is one line for each image, class that covers a `LARGE` part of it, method, stage and radius. `coarse` is the
    ratio of the map averaged to the cells of the last stage: what is left of it without the finer cells of the others.
    """
    lines = []
    for index in indices:
        image, labels = dataset.load(index)
        distance = boundary_distance(labels)
        classes, counts = np.unique(labels[labels != IGNORE], return_counts=True)
        for category in classes[counts >= LARGE * counts.sum()].tolist():
            for method, of_method in maps(model, image, labels, category, size, methods=methods).items():
                for stage, each in of_method.items():
                    coarse = F.adaptive_avg_pool2d(torch.from_numpy(each)[None], of_method[DETAIL[-1]].shape)[0].numpy()
                    ratios = [boundary_ratio(m, distance, radii) for m in (each, coarse)]
                    lines += [(index, category, method, stage, *of_r) for of_r in zip(radii, *ratios, strict=True)]
    return pd.DataFrame(lines, columns=["image", "category", "method", "stage", "radius", "ratio", "coarse"])


def steps(ratios: pd.DataFrame) -> pd.DataFrame:
    """What changes from stage to stage, image by image: columns `change, error, n, verdict`, one line a step.

    `ratios` has a line for each image and a column for each stage. `error` is half the 95 % interval of the mean
    change; a change that is not larger is "unresolved".
    """
    lines = {}
    for before, after in itertools.pairwise(ratios.columns):
        changes = ratios[after] - ratios[before]
        lines[f"{before} to {after}"] = (*_mean(changes), _told(mean(changes.dropna().tolist()), ("falls", "rises")))
    return pd.DataFrame.from_dict(lines, orient="index", columns=["change", "error", "n", "verdict"])


def against(trained: pd.Series, untrained: pd.Series) -> dict[str, float | int | str]:
    """Have the images of a trained network more than networks that have learned nothing? Means, errors and a verdict.

    `trained` holds a ratio for each image, `untrained` the mean ratio of each of several networks. Errors are halves of
    95 % intervals; a difference whose own interval (Welch's) holds zero is "unresolved".
    """
    average, error, n = _mean(trained)
    chance, chance_error, networks = _mean(untrained)
    told = _told(
        gain(trained.dropna().tolist(), untrained.dropna().tolist()), ("less than untrained", "more than untrained")
    )
    numbers = {"trained": average, "error": error, "n images": n, "untrained": chance, "its error": chance_error}
    return {**numbers, "n networks": networks, "verdict": told}


def verdict(ratios: pd.DataFrame) -> pd.DataFrame:
    """Is the paper's sentence true of these maps? Columns `here, verdict`; lines "focus" and "gradually".

    "Detail Branch can focus on the spatial details, e.g., boundary, gradually" (Figure 8): its last stage has more
    near boundaries than chance has, and each stage more than the one before. `ratios` is that of `steps`.
    """
    average, error, _ = _mean(ratios.iloc[:, -1])
    focus = _told(mean((ratios.iloc[:, -1].dropna() - 1).tolist()), ("not true", "true"))
    words = steps(ratios)["verdict"].tolist()
    gradually = "not true" if "falls" in words else "unresolved" if "unresolved" in words else "true"
    lines = {
        "focus": (f"{average:.2f} ± {error:.2f} times chance", focus),
        "gradually": (", then ".join(words), gradually),
    }
    return pd.DataFrame.from_dict(lines, orient="index", columns=["here", "verdict"])


def _mean(values: pd.Series) -> tuple[float, float, int]:
    """Mean, half its 95 % interval, and of how many; those that are NaN are left out."""
    found = mean(values.dropna().tolist())
    return found.points, found.high - found.points, len(values.dropna())


def _told(found: Gain, words: tuple[str, str]) -> str:
    return words[found.points > 0] if found.verdict == "resolved" else "unresolved"
