"""What the network makes of a pixel, with both branches or with one of them silenced: a figure, and widgets for it."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython import get_ipython
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from bisenet.augment import to_size
from bisenet.config import Size, choose
from bisenet.data import DATASETS
from bisenet.dataset import DatasetInfo, PairDataset
from bisenet.evaluate import predict
from bisenet.looking.gallery import colour, readable
from bisenet.model import BiSeNetV2
from bisenet.report.charts import BAD, HERE, PAPER, closed

try:
    import ipywidgets as widgets
except ImportError:
    widgets = None

# What can be silenced: in words, and the name of that part of the network.
BRANCHES = {"both branches": "", "Detail Branch silenced": "detail", "Semantic Branch silenced": "semantic"}


@contextlib.contextmanager
def silence(model: BiSeNetV2, branch: str) -> Iterator[None]:
    """Within, every feature of a branch, "detail" or "semantic", is zero before aggregation; "" leaves both."""
    if not branch:
        yield
        return
    part = getattr(model, choose("branch", branch, filter(None, BRANCHES.values())))
    if part is None:
        raise ValueError(f"this network has no {branch} branch to silence; take one with both")
    hook = part.register_forward_hook(lambda *call: {name: torch.zeros_like(of) for name, of in call[-1].items()})
    try:
        yield
    finally:
        hook.remove()


def probabilities(model: BiSeNetV2, image: np.ndarray, size: Size, silenced: str = "") -> np.ndarray:
    """Of every class at every pixel, (K, H, W), for an image, uint8 (H, W, 3), that the network sees at `size`."""
    with silence(model, silenced):
        return predict(model, image, size, next(model.parameters()).device).softmax(1)[0].cpu().numpy()


def view(
    model: BiSeNetV2,
    image: np.ndarray,
    size: Size,
    row: int,
    column: int,
    blend: float = 0.5,
    silenced: str = "",
    info: DatasetInfo = DATASETS["streets"],
) -> Figure:
    """The image under the colours of the predicted classes, from 0 (none) to 1 in `blend`, and one pixel's classes."""
    height, width = image.shape[:2]
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"pixel ({row}, {column}) is not in the image: rows are 0-{height - 1}, columns 0-{width - 1}")
    of_classes = probabilities(model, image, size, silenced)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), width_ratios=(3, 1), layout="constrained")
    left.imshow((1 - blend) * (image / 255) + blend * (colour(of_classes.argmax(0), readable(info)) / 255))
    for of_mark, thickness in (("white", 5), (BAD, 2)):
        left.plot(column, row, "+", color=of_mark, markersize=18, markeredgewidth=thickness)
    words = {value: text for text, value in BRANCHES.items()}
    left.set_title(f"row {row}, column {column}; {words[silenced]}", fontsize=9)
    _bars(right, of_classes[:, row, column], info)
    for axes in (left, right):
        axes.tick_params(labelsize=7)
        axes.set_anchor("N")
    return closed(figure)


def _bars(axes: Axes, values: np.ndarray, info: DatasetInfo) -> None:
    """A bar for every class, always at the same place, beside its colour in the picture; the highest is blue."""
    place = np.arange(len(values))
    axes.barh(place, values, color=[HERE if k == values.argmax() else PAPER for k in place])
    style: dict[str, Any] = {"marker": "s", "s": 22, "edgecolor": "black", "linewidth": 0.4, "clip_on": False}
    axes.scatter(np.full(len(place), -0.05), place, c=readable(info) / 255, **style)
    axes.set_yticks(place, info.classes)
    axes.tick_params(axis="y", length=0, pad=13)
    axes.set(xlim=(0, 1), ylim=(len(values) - 0.4, -0.6))
    axes.set_title("probability at the cross", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def photograph(name: str, content: bytes, size: Size) -> np.ndarray:
    """A picture file as uint8 (H, W, 3) RGB: upright, as large as fits into `size`, sides multiples of 32."""
    try:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        rule = "cannot be read as a picture; choose a whole JPEG or PNG file"
        raise ValueError(f"{name}: {len(content):,} bytes that {rule}") from error
    scale = min(size[0] / picture.height, size[1] / picture.width)
    height, width = (32 * max(1, round(scale * side / 32)) for side in (picture.height, picture.width))
    return to_size(np.asarray(picture), (height, width))


def explore(model: BiSeNetV2, scenes: PairDataset, size: Size) -> Any:
    """Controls for what `view` takes, in a notebook that somebody has open; elsewhere a line says what they need."""
    if missing := _missing():
        print(missing)
        return None
    controls = _controls(len(scenes), size)

    def show(scene: int, upload: Any, row: int, column: int, **choices: Any) -> None:
        try:
            files = [photograph(file["name"], bytes(file["content"]), size) for file in upload]
        except ValueError as error:
            print(error)
            return
        image = files[0] if files else scenes.load(scene)[0]
        height, width = image.shape[:2]  # a photograph may be smaller than the scenes, for which the sliders are
        pixel = min(row, height - 1), min(column, width - 1)
        display(view(model, image, (height, width), *pixel, info=scenes.info, **choices))

    lines = [[controls[name] for name in line.split()] for line in ("scene upload", "row column blend", "silenced")]
    return widgets.VBox([*map(widgets.HBox, lines), widgets.interactive_output(show, controls)])


def _missing() -> str:
    """What keeps widgets from being shown here, if anything does."""
    shell = get_ipython()
    if widgets is None:
        return "The explorer needs ipywidgets: pip install 'ipywidgets>=8.1', then restart JupyterLab."
    if shell and shell.history_manager.hist_file == ":memory:":  # nbconvert or papermill, who would store dead widgets
        return "The explorer is made of widgets; it appears here when this cell is run in JupyterLab (make lab)."
    return ""


def _controls(scenes: int, size: Size) -> dict[str, Any]:
    """By the names of what they choose. Sliders count when they are let go, since a figure takes half a second."""
    late = {"min": 0, "continuous_update": False}
    whole = {"scene": scenes - 1, "row": size[0] - 1, "column": size[1] - 1}
    controls = {name: widgets.IntSlider(top // 2, max=top, description=name, **late) for name, top in whole.items()}
    controls["blend"] = widgets.FloatSlider(0.5, max=1, step=0.05, description="colours", **late)
    controls["silenced"] = widgets.ToggleButtons(options=BRANCHES, style={"button_width": "auto"})
    upload = widgets.FileUpload(accept="image/*", description="own photograph", layout={"width": "auto"})
    controls["scene"].observe(lambda change: setattr(upload, "value", ()), "value")  # back from the photograph
    return controls | {"upload": upload}
