"""The canvas that paints image and labels together, its camera, and its weather."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from bisenet.data.streets import classes
from bisenet.data.streets.colours import Colour, chance, hsv, scaled, uniform

Tint = Colour | None  # none leaves the image as it is
Label = int | None  # none leaves the labels as they are
Point = tuple[float, float]
NEAR, FAR = 1.5, 160.0
CIRCLE: list[Point] = [(math.cos(t), math.sin(t)) for t in np.linspace(0, 2 * math.pi, 13)[:-1].tolist()]


class Canvas:
    """Image and labels of one size, the camera that projects to them, and the weather."""

    def __init__(self, size: tuple[int, int], rng: Generator) -> None:
        self.height, self.width = size
        self.image = Image.new("RGBA", (self.width, self.height))  # the fourth band is the texture
        self.labels = Image.new("L", (self.width, self.height))
        self.image_pen, self.label_pen = ImageDraw.Draw(self.image), ImageDraw.Draw(self.labels)
        # The picture is 2 wide and 1 high, whatever its pixels: units of centre, horizon and focal length.
        self.centre, self.horizon = uniform(rng, 0.75, 1.25), uniform(rng, 0.4, 0.54)
        self.focal, self.eye = uniform(rng, 1.4, 1.9), uniform(rng, 1.15, 1.4)
        self.bend = uniform(rng, -0.004, 0.004) if chance(rng, 0.5) else 0.0
        self.sight = uniform(rng, 80, 500)
        self.haze = hsv(rng, (0.05, 0.13) if chance(rng, 0.3) else (0.55, 0.62), (0.0, 0.25), (0.6, 0.95), 15)
        self.sun = uniform(rng, -1.5, 1.5), uniform(rng, -0.6, 1.2)  # shift of a shadow per metre of height
        self.shade = uniform(rng, 0.15, 0.65)
        self.wet = uniform(rng, 0.15, 0.4) if chance(rng, 0.3) else 0.0  # how much of the view the ground mirrors

    def project(self, x: float, y: float, z: float) -> Point:
        """Pixel (column, row) of a point of the street; the bend shifts what is far."""
        z = max(z, NEAR)
        column = self.centre + self.focal * (x / z + self.bend * z)
        return column * self.width / 2, (self.horizon + self.focal * (self.eye - y) / z) * self.height

    def hazed(self, colour: Colour, z: float) -> Colour:
        clear = math.exp(-z / self.sight)
        mixed = [round(far + clear * (own - far)) for own, far in zip(colour, self.haze, strict=True)]
        return mixed[0], mixed[1], mixed[2], mixed[3]

    def fill(self, points: list[Point], colour: Tint, label: Label, z: float = 0.0) -> None:
        """Fill a polygon of pixels, seen through `z` metres of haze."""
        if colour is not None:
            self.image_pen.polygon(points, self.hazed(colour, z))
        if label is not None:
            self.label_pen.polygon(points, label)

    def stroke(self, points: list[Point], metres: float, colour: Colour, label: Label, z: float) -> None:
        """Draw a polyline, at least one pixel wide."""
        width = max(1, round(self.focal * metres / max(z, NEAR) * self.height))
        self.image_pen.line(points, self.hazed(colour, z), width)
        if label is not None:
            self.label_pen.line(points, label, width)

    def strip(self, x0: float, x1: float, z0: float, z1: float, colour: Colour, label: Label = None) -> None:
        """Fill a strip of the ground that follows the road."""
        depths = np.geomspace(z0, z1, 14).tolist() if z1 > 3 * z0 else [z0, z1]
        edge = [self.project(x0, 0, z) for z in depths] + [self.project(x1, 0, z) for z in reversed(depths)]
        self.fill(edge, colour, label)

    def faces(self, thing: Thing) -> list[tuple[Plane, float]]:
        """The visible faces of a box, each with its length: the flank, if it shows, then the near face.

        The sun lights the faces that look towards it, the others are in the shade.
        """
        left, near, far = thing.x - thing.width / 2, thing.z, thing.z + thing.length
        front = (Plane(self, left, near, light=1 + 0.22 * math.tanh(2 * self.sun[1])), thing.width)
        for x, inward in ((left, 1), (left + thing.width, -1)):
            if inward * (self.project(x, 0, far)[0] - self.project(x, 0, near)[0]) < 0:
                light = 1 + 0.22 * inward * math.tanh(2 * self.sun[0])
                return [(Plane(self, x, near, (0, 1), (inward, 0), light), thing.length), front]
        return [front]

    def cast_shadows(self, things: Sequence[Thing]) -> None:
        """Darken the ground below things and away from the sun."""
        mask = Image.new("L", self.image.size)
        pen = ImageDraw.Draw(mask)
        for thing in things:
            x0, x1 = thing.x - thing.width / 2, thing.x + thing.width / 2
            z0, z1 = thing.z, thing.z + thing.length
            dx, dz = (shift * min(thing.height, 9.0) for shift in self.sun)
            xa, xb = (x0, x1) if dx * dz < 0 else (x1, x0)  # the diagonal that sweeps the wider strip
            foot = [(x0, z0), (x1, z0), (x1, z1), (x0, z1)]
            swept = [(xa, z0), (xb, z1), (xb + dx, z1 + dz), (xa + dx, z0 + dz)]
            for corners in (foot, swept):
                pen.polygon([self.project(x, 0, z) for x, z in corners], round(255 * self.shade))
        pen.rectangle((0, 0, self.width, self.horizon * self.height), 0)
        self.image.paste((20, 22, 30, 40), mask=mask)

    def haze_background(self) -> None:
        """Haze ground and sky, row by row, towards the horizon."""
        rows = (np.arange(self.height) + 0.5) / self.height - self.horizon
        depth = np.where(rows > 0, self.focal * self.eye, 30) / np.maximum(np.abs(rows), 1e-3)
        mask = Image.fromarray((255 * (1 - np.exp(-depth / self.sight))).astype(np.uint8)[:, None])
        self.image.paste(self.haze, mask=mask.resize(self.image.size))

    def mirror(self) -> None:
        """Wet ground, road and sidewalk, shows what is above the horizon, upside down and blurred."""
        if not self.wet:
            return
        row = round(self.horizon * self.height)
        below = self.width, self.height - row
        above = self.image.crop((0, 0, self.width, row)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        blurred = above.resize((max(1, self.width // 8), 12)).resize(below)
        wet = (classes.ROAD, classes.SIDEWALK)
        mask = self.labels.point([round(255 * self.wet) if label in wet else 0 for label in range(256)])
        self.image.paste(blurred, (0, row), mask.crop((0, row, self.width, self.height)))

    def develop(self, rng: Generator) -> np.ndarray:
        """The photograph (H, W, 3): blur, exposure, tint, contrast, uneven light, texture, sensor noise."""
        blur, noise, lift = uniform(rng, -0.5, 0.7), uniform(rng, 1, 4), uniform(rng, 0, 15)
        gain, gamma = uniform(rng, 0.7, 1.15) * rng.uniform(0.94, 1.06, 3), uniform(rng, 0.9, 1.15)
        level = np.arange(256)
        tone = np.minimum(lift + gain[:, None] * 255 * (level / 255) ** gamma, 255)
        curves = np.concatenate([tone.ravel(), level * gain.mean()])
        image = self.image.point(curves.round().astype(int).tolist())
        if blur > 0.1:
            image = image.filter(ImageFilter.BoxBlur(blur))
        pixels = np.asarray(image)
        light = 1 + np.float32(uniform(rng, 0, 0.2)) * waves(rng, (3, 4), image.size)
        grain = waves(rng, (64, 128), image.size) + waves(rng, (200, 400), image.size)
        grain *= pixels[..., 3] * np.float32(0.12)
        grain += np.float32(noise) * rng.standard_normal(grain.shape, dtype=np.float32)
        out = np.empty((self.height, self.width, 3), np.uint8)
        for channel in range(3):
            plane = pixels[..., channel] * light
            plane += grain
            out[..., channel] = np.clip(plane, 0, 255, out=plane)
        return out


def waves(rng: Generator, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Smooth noise (H, W) float32: a coarse grid of normal numbers, enlarged to `size` (width, height)."""
    coarse = Image.fromarray(rng.standard_normal(grid, dtype=np.float32))
    return np.array(coarse.resize(size, Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class Plane:
    """A vertical plane of the street, from (x, z) on: `a` metres along it, `b` metres above the ground.

    `inward` points away from the camera, into the body whose face the plane is.
    """

    canvas: Canvas
    x: float
    z: float
    along: Point = (1.0, 0.0)
    inward: Point = (0.0, 1.0)
    light: float = 1.0  # 1: neither lit by the sun nor in the shade

    def points(self, flat: Sequence[Point], behind: float = 0.0) -> list[Point]:
        """Pixels of the points (a, b), `behind` metres behind the plane."""
        x, z = self.x + behind * self.inward[0], self.z + behind * self.inward[1]
        return [self.canvas.project(x + a * self.along[0], b, z + a * self.along[1]) for a, b in flat]

    def turned(self, span: float) -> Plane:
        """The same plane measured from its other end."""
        dx, dz = self.along
        return Plane(self.canvas, self.x + span * dx, self.z + span * dz, (-dx, -dz), self.inward, self.light)

    def poly(self, flat: Sequence[Point], colour: Tint, label: Label = None) -> None:
        depth = self.z + self.along[1] * flat[len(flat) // 2][0]
        self.canvas.fill(self.points(flat), colour and scaled(colour, self.light), label, depth)

    def rect(self, a0: float, a1: float, b0: float, b1: float, colour: Tint, label: Label = None) -> None:
        self.poly(((a0, b0), (a0, b1), (a1, b1), (a1, b0)), colour, label)

    def disc(self, a: float, b: float, radius: float, colour: Tint, label: Label = None) -> None:
        self.poly([(a + radius * c, b + radius * s) for c, s in CIRCLE], colour, label)

    def line(self, flat: Sequence[Point], thickness: float, colour: Colour, label: Label = None) -> None:
        depth = self.z + self.along[1] * flat[0][0]
        self.canvas.stroke(self.points(flat), thickness, scaled(colour, self.light), label, depth)

    def panes(self, a0: float, a1: float, b0: float, b1: float, count: int, colour: Colour) -> None:
        """A row of windows: on houses, coaches, and as painted panels on trucks."""
        pitch = (a1 - a0) / count
        for pane in range(count):
            self.rect(a0 + (pane + 0.12) * pitch, a0 + (pane + 0.88) * pitch, b0, b1, colour)


@dataclass(frozen=True)
class Thing:
    """Something on the street: its painter, and its box, `x` +- `width`/2 and `z` to `z` + `length`."""

    paint: Painter
    x: float
    z: float
    width: float = 0.4
    length: float = 0.4
    height: float = 1.7
    label: int = classes.VOID
    across: bool = False  # a vehicle that crosses the road shows its side
    reach: float = 0.0  # painted before all that is nearer than z + reach


Painter = Callable[[Canvas, Thing, Generator], None]
