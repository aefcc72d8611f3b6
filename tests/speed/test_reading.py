"""The ways to read a sample: they do the same, and what is measured of them is recorded and read."""

import json

import numpy as np
import pytest

from bisenet.data import miniature
from bisenet.data.cityscapes import Cityscapes
from bisenet.speed import reading


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cityscapes")
    miniature.make("cityscapes", folder, {"train": 1})
    with pytest.warns(UserWarning, match="1 of 2975 images"):
        return Cityscapes("train", folder)


@pytest.mark.parametrize(("seed", "scale", "flip"), [(11, 0.75, True), (9, 1.25, False), (0, 2.0, True)])
def test_all_ways_give_the_same_crop(reader, seed, scale, flip):
    """Where it is smaller than the crop, larger, flipped or not, up to resampling: a few pixels at the boundaries."""
    rng = np.random.default_rng(seed)
    assert (rng.choice(reading.RECIPE.scales), rng.random(2).shape, rng.random() < 0.5) == (scale, (2,), flip)
    samples = [augment(*decode(reader, 0), np.random.default_rng(seed)) for decode, augment, _ in reading.WAYS.values()]
    image, labels = samples[0]
    assert image.shape == (512, 1024, 3) and len(np.unique(labels)) > 3
    for other, other_labels in samples[1:]:
        assert other.shape == image.shape and other_labels.shape == labels.shape
        assert (other_labels == labels).mean() > 0.97
        assert np.abs(other.astype(int) - image).mean() < 3  # grey levels
    assert all(np.array_equal(a, b) for a, b in zip(samples[1], samples[3], strict=True))  # the decoders agree


def test_a_measurement_is_recorded_and_read(tmp_path, monkeypatch):
    monkeypatch.setenv("BISENET_RESULTS", str(tmp_path))
    record = reading.shipped_or_timed("smoke", train=True)
    assert json.loads((tmp_path / reading.FILE).read_text()) == record
    assert {name: len(ms) for name, ms in record["milliseconds"].items()} == dict.fromkeys(reading.WAYS, 2)
    assert record["files"] == "embedded scenes" and {"device", "date", "load", "process", "seed"} < {*record}
    for each in (record, reading.shipped_or_timed("smoke", train=False)):  # the older one has other names
        table = reading.table(each)
        assert [*table.index] == [*reading.WAYS] and table["times as long as here"][reading.HERE] == 1
        assert (table["5 %"] <= table["ms a sample"]).all() and (table["ms a sample"] > 1).all()
