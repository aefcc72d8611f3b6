"""The explorer: its figure by hand, branches silenced and heard again, photographs, and its widgets."""

import datetime
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from bisenet.data import DATASETS, open_dataset
from bisenet.data.places import NOTEBOOKS
from bisenet.evaluate import predict
from bisenet.looking import explorer, gallery
from bisenet.model import BiSeNetV2, ModelConfig

SIZE = (64, 128)
INFO = DATASETS["streets"]
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def network(**knobs) -> BiSeNetV2:
    """A narrow network whose batch normalisation has seen data."""
    torch.manual_seed(0)
    model = BiSeNetV2(ModelConfig(width=0.25, booster=(), **knobs))
    with torch.no_grad():
        model(torch.randn(2, 3, *SIZE))
    return model.eval()


@pytest.fixture(scope="module")
def model() -> BiSeNetV2:
    return network()


def logits(model: BiSeNetV2) -> torch.Tensor:
    return predict(model, IMAGE, SIZE, torch.device("cpu"))


def test_the_bars_are_the_softmax_at_the_pixel_and_the_picture_is_the_blend(model):
    left, right = explorer.view(model, IMAGE, SIZE, 20, 90, 0.25).axes
    bars = np.array([bar.get_width() for bar in right.patches])
    assert bars.sum() == pytest.approx(1, abs=1e-5)
    powers = logits(model)[0, :, 20, 90].double().exp()
    np.testing.assert_allclose(bars, powers / powers.sum(), atol=1e-5)
    assert [label.get_text() for label in right.get_yticklabels()] == list(INFO.classes)
    colours = gallery.colour(logits(model)[0].argmax(0).numpy(), gallery.readable(INFO))
    np.testing.assert_allclose(left.images[0].get_array() * 255, 0.75 * IMAGE + 0.25 * colours)
    assert left.get_title() == "row 20, column 90; both branches"


@pytest.mark.parametrize("branch", ["detail", "semantic"])
def test_a_silenced_branch_counts_for_nothing_until_it_is_heard_again(model, branch):
    before = logits(model)
    silenced = explorer.probabilities(model, IMAGE, SIZE, branch)
    assert np.abs(silenced - before.softmax(1)[0].numpy()).max() > 1e-3
    with explorer.silence(model, branch), torch.no_grad():
        features = model.features(torch.randn(1, 3, *SIZE))
    zero = {name for name, of_stage in features.items() if not of_stage.any()}
    detail = {name for name in features if name.startswith("detail")}
    assert zero == (detail if branch == "detail" else features.keys() - detail - {"aggregation", "refinement"})
    assert torch.equal(logits(model), before)


def test_a_branch_is_heard_again_after_an_error(model):
    before = logits(model)
    with pytest.raises(KeyError), explorer.silence(model, "detail"):
        raise KeyError
    assert torch.equal(logits(model), before)


def test_what_cannot_be_viewed_is_said(model):
    with pytest.raises(ValueError, match=r"pixel \(64, 0\) is not in the image: rows are 0-63, columns 0-127"):
        explorer.view(model, IMAGE, SIZE, 64, 0)
    with pytest.raises(ValueError, match="unknown branch 'detial': did you mean 'detail'"):
        explorer.view(model, IMAGE, SIZE, 0, 0, silenced="detial")
    with pytest.raises(ValueError, match="no semantic branch"):
        explorer.view(network(semantic=False, aggregation="none"), IMAGE, SIZE, 0, 0, silenced="semantic")


def encoded(picture: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()


def test_a_photograph_is_whole_and_upright_whatever_its_mode():
    grey = Image.new("L", (300, 610), 100)
    grey.paste(200, (0, 0, 300, 305))  # the upper half is lighter
    upright = explorer.photograph("grey.png", encoded(grey, format="PNG"), SIZE)
    assert upright.shape == (64, 32, 3)
    assert (upright[:31] == 200).all()
    assert (upright[33:] == 100).all()
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held on its side
    sideways = explorer.photograph("turned.png", encoded(grey.rotate(90, expand=True), format="PNG", exif=turned), SIZE)
    assert (sideways == upright).all()


@pytest.mark.parametrize("content", [b"", b"no picture", encoded(Image.new("RGB", (64, 64)), format="PNG")[:60]])
def test_a_broken_photograph_is_an_error_of_one_line(content):
    with pytest.raises(ValueError, match="choose a whole JPEG or PNG file") as caught:
        explorer.photograph("holiday.jpg", content, SIZE)
    assert str(caught.value).startswith(f"holiday.jpg: {len(content)} bytes")
    assert "\n" not in str(caught.value)


def test_without_widgets_one_line_says_what_to_install(model, monkeypatch, capsys):
    monkeypatch.setattr(explorer, "widgets", None)
    assert explorer.explore(model, open_dataset("streets", "val", size=SIZE), SIZE) is None
    printed = capsys.readouterr().out
    assert "pip install 'ipywidgets" in printed
    assert printed.count("\n") == 1


def test_every_control_reaches_the_figure(model, monkeypatch, capsys):
    pytest.importorskip("ipywidgets")
    seen = []
    monkeypatch.setattr(explorer, "display", lambda figure: None)
    monkeypatch.setattr(explorer, "view", lambda model, *what, **options: seen.append((what, options)))
    scenes = open_dataset("streets", "val", size=SIZE)
    box = explorer.explore(model, scenes, SIZE)
    (scene, upload), (row, column, blend), (silenced,) = (line.children for line in box.children[:3])
    row.value, column.value, blend.value, silenced.value = 3, 127, 0.1, "detail"
    (image, *rest), options = seen[-1]
    assert image.shape == (*SIZE, 3)
    assert rest == [SIZE, 3, 127]
    assert options == {"blend": 0.1, "silenced": "detail", "info": INFO}
    photograph = {"name": "a.png", "type": "image/png", "size": 0, "last_modified": datetime.datetime.now()}
    upload.value = ({**photograph, "content": memoryview(encoded(Image.new("RGB", (99, 99)), format="PNG"))},)
    image, *rest = seen[-1][0]
    assert not image.any()
    assert rest == [(64, 64), 3, 63]  # it is less wide than the scenes, and the cross stays on it
    scene.value = 5
    assert (seen[-1][0][0] == scenes.load(5)[0]).all()
    capsys.readouterr()
    upload.value = ({**photograph, "content": memoryview(b"broken")},)
    assert "a.png: 6 bytes that cannot be read" in capsys.readouterr().out


def test_the_stored_quickstart_has_a_figure_and_no_dead_widget():
    text = (NOTEBOOKS / "quickstart.ipynb").read_text()
    notebook = json.loads(text)
    assert len(text) < 2**20
    assert "jupyter.widget" not in text
    *_, figure, last = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "explorer.view(" in "".join(figure["source"])
    assert "image/png" in figure["outputs"][0]["data"]
    assert "explorer.explore(" in "".join(last["source"])
    assert "nbval-ignore-output" in last["metadata"]["tags"]
