"""Streets: procedural street scenes with the 19 Cityscapes classes, the data set that needs no download.

A scene is a list of things on a street, drawn far to near on a canvas that paints image and labels together.
Lengths are metres: x to the right, y up, z away from the camera, a pinhole at (0, eye, 0).
Colours, textures and windows are shared between classes on purpose: what a pixel is follows from thin shapes
(posts, spokes, lamps) and from context (a long windowed box on rails is a train, with wheels it is a bus).
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

CLASSES: tuple[str, ...] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
PALETTE: np.ndarray = np.array([
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
    (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
    (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
], dtype=np.uint8)  # fmt: skip
(ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN, VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR,
 TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE) = range(19)  # fmt: skip
VOID = 255

Colour = tuple[int, int, int, int]  # red, green, blue, and how strongly the surface is textured
Tint = Colour | None  # none leaves the image as it is
Label = int | None  # none leaves the labels as they are
Point = tuple[float, float]
NEAR, FAR = 1.5, 160.0
CIRCLE: list[Point] = [(math.cos(t), math.sin(t)) for t in np.linspace(0, 2 * math.pi, 13)[:-1].tolist()]


def render(index: int, size: tuple[int, int] = (512, 1024), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scene number `index` of the endless series `seed`: image (H, W, 3) uint8 and labels (H, W) uint8.

    `size` is (height, width). Labels are train ids 0..18, 255 is void. The same arguments give the same bytes
    in any process; the same index and seed give the same layout, stretched to the size.
    Raises ValueError if a side of the size is below 1, or if index or seed is negative.
    """
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"got size={size!r}; the rule is (height, width), both at least 1")
    if index < 0 or seed < 0:
        raise ValueError(f"got index={index}, seed={seed}; the rule is that neither is negative")
    rng = np.random.default_rng((seed, index))
    canvas, street = Canvas(size, rng), Street(rng)
    things = sorted(street.things(rng), key=lambda thing: -thing.z - thing.reach)
    street.paint_ground(canvas, things, rng)
    for thing in things:
        thing.paint(canvas, thing, rng)
    paint_bonnet(canvas, rng)
    return canvas.develop(rng), np.array(canvas.labels)


# --- colours: families that classes share -------------------------------------------------------------------


def chance(rng: Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def uniform(rng: Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def hsv(rng: Generator, hue: Point, saturation: Point, value: Point, texture: int) -> Colour:
    """A colour with hue, saturation and value drawn from the given intervals."""
    rgb = colorsys.hsv_to_rgb(uniform(rng, *hue), uniform(rng, *saturation), uniform(rng, *value))
    red, green, blue = (round(255 * channel) for channel in rgb)
    return red, green, blue, texture


def stone(rng: Generator) -> Colour:
    """Plaster, brick, concrete: buildings and walls."""
    return hsv(rng, (0.0, 0.16), (0.03, 0.5), (0.3, 0.85), 60)


def paving(rng: Generator) -> Colour:
    """Asphalt, slabs, gravel, zinc: road, sidewalk, bare terrain, poles."""
    return hsv(rng, (0.02, 0.16) if chance(rng, 0.6) else (0.5, 0.65), (0.0, 0.22), (0.28, 0.62), 60)


def foliage(rng: Generator) -> Colour:
    """Leaves and grass, from green to dry: vegetation and terrain."""
    return hsv(rng, (0.18, 0.36) if chance(rng, 0.75) else (0.08, 0.18), (0.2, 0.55), (0.22, 0.55), 150)


def paint(rng: Generator) -> Colour:
    """Lacquer and cloth: vehicles, signs, people, shops, bins."""
    return hsv(rng, (0.0, 1.0), (0.0, 0.15) if chance(rng, 0.45) else (0.3, 0.85), (0.12, 0.92), 25)


def glass(rng: Generator) -> Colour:
    return hsv(rng, (0.5, 0.65), (0.05, 0.35), (0.1, 0.75), 40)


def dark(rng: Generator) -> Colour:
    """Rubber, iron."""
    return hsv(rng, (0.0, 1.0), (0.0, 0.15), (0.06, 0.3), 25)


def scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(factor * channel)) for channel in colour[:3])
    return red, green, blue, colour[3]


# --- the canvas ---------------------------------------------------------------------------------------------


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
        """The visible faces of a box, each with its length: the flank, if it shows, then the near face."""
        left, near, far = thing.x - thing.width / 2, thing.z, thing.z + thing.length
        front = (Plane(self, left, near), thing.width)
        for x, inward in ((left, 1), (left + thing.width, -1)):
            if inward * (self.project(x, 0, far)[0] - self.project(x, 0, near)[0]) < 0:
                return [(Plane(self, x, near, (0, 1), (inward, 0)), thing.length), front]
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

    def develop(self, rng: Generator) -> np.ndarray:
        """The photograph (H, W, 3): blur, exposure, tint, contrast, uneven light, texture, sensor noise."""
        blur, noise, lift = uniform(rng, -0.5, 0.9), uniform(rng, 1, 7), uniform(rng, 0, 30)
        gain, gamma = uniform(rng, 0.6, 1.15) * rng.uniform(0.9, 1.1, 3), uniform(rng, 0.8, 1.25)
        level = np.arange(256)
        tone = np.minimum(lift + gain[:, None] * 255 * (level / 255) ** gamma, 255)
        curves = np.concatenate([tone.ravel(), level * gain.mean()])
        image = self.image.point(curves.round().astype(int).tolist())
        if blur > 0.1:
            image = image.filter(ImageFilter.BoxBlur(blur))
        pixels = np.asarray(image)
        light = 1 + np.float32(uniform(rng, 0, 0.2)) * cloth(rng, (3, 4), image.size)
        grain = cloth(rng, (64, 128), image.size) + cloth(rng, (200, 400), image.size)
        grain *= pixels[..., 3] * np.float32(0.12)
        grain += np.float32(noise) * rng.standard_normal(grain.shape, dtype=np.float32)
        out = np.empty((self.height, self.width, 3), np.uint8)
        for channel in range(3):
            plane = pixels[..., channel] * light
            plane += grain
            out[..., channel] = np.clip(plane, 0, 255, out=plane)
        return out


def cloth(rng: Generator, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
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

    def points(self, flat: Sequence[Point], behind: float = 0.0) -> list[Point]:
        """Pixels of the points (a, b), `behind` metres behind the plane."""
        x, z = self.x + behind * self.inward[0], self.z + behind * self.inward[1]
        return [self.canvas.project(x + a * self.along[0], b, z + a * self.along[1]) for a, b in flat]

    def turned(self, span: float) -> Plane:
        """The same plane measured from its other end."""
        dx, dz = self.along
        return Plane(self.canvas, self.x + span * dx, self.z + span * dz, (-dx, -dz), self.inward)

    def poly(self, flat: Sequence[Point], colour: Tint, label: Label = None) -> None:
        depth = self.z + self.along[1] * flat[len(flat) // 2][0]
        self.canvas.fill(self.points(flat), colour, label, depth)

    def rect(self, a0: float, a1: float, b0: float, b1: float, colour: Tint, label: Label = None) -> None:
        self.poly(((a0, b0), (a0, b1), (a1, b1), (a1, b0)), colour, label)

    def disc(self, a: float, b: float, radius: float, colour: Tint, label: Label = None) -> None:
        self.poly([(a + radius * c, b + radius * s) for c, s in CIRCLE], colour, label)

    def line(self, flat: Sequence[Point], thickness: float, colour: Colour, label: Label = None) -> None:
        self.canvas.stroke(self.points(flat), thickness, colour, label, self.z + self.along[1] * flat[0][0])

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
    label: int = VOID
    across: bool = False  # a vehicle that crosses the road shows its side
    reach: float = 0.0  # painted before all that is nearer than z + reach


Painter = Callable[[Canvas, Thing, Generator], None]

# --- along the street ---------------------------------------------------------------------------------------


def building(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A tall box of stone with rows of windows, some with a shop below."""
    body, pane, shop, style = stone(rng), glass(rng), paint(rng), rng.random()
    for plane, span in canvas.faces(thing):
        plane.rect(0, span, 0, thing.height, body, BUILDING)
        for floor in range(min(5, int(thing.height / 3.2)) if thing.z < 70 else 0):
            sill, count = 0.9 + 3.2 * floor, max(1, int(span / 3))
            if style < 0.3:
                plane.rect(0.4, span - 0.4, sill, sill + 1.5, pane)
            else:
                plane.panes(0, span, sill, sill + 1.6, count, pane)
        if style > 0.75:
            plane.rect(0.5, span - 0.5, 2.6, 3.3, shop)
        body, pane = scaled(body, 0.8), scaled(pane, 0.8)  # the near face is in the shade


def wall(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Low, of the same stone as buildings, without windows; some have a poster."""
    body, poster, joints = stone(rng), paint(rng), 4 if chance(rng, 0.5) else 1
    for plane, span in canvas.faces(thing):
        plane.rect(0, span, 0, thing.height, body, WALL)
        if joints == 1 and span > 5:
            plane.rect(1, 3, 0.4, 0.8 * thing.height, poster)
        for course in range(1, joints + 1):
            level = thing.height * course / joints
            plane.line([(0, level), (span, level)], 0.04, scaled(body, 0.75))


def fence(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Thin posts and rails; labelled as one area although one sees through, as in Cityscapes."""
    colour = paint(rng) if chance(rng, 0.5) else dark(rng)
    posts = round(thing.length / uniform(rng, 0.35, 1.2))
    for plane, span in canvas.faces(thing)[:-1]:
        plane.rect(0, span, 0, thing.height, None, FENCE)
        for a in np.linspace(0, span, posts + 1).tolist():
            plane.line([(a, 0), (a, thing.height)], 0.06, colour)
        for rail in (0.15, 0.55, 1.0):
            plane.line([(0, rail * thing.height), (span, rail * thing.height)], 0.05, colour)


def hedge(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Bushes in a row with a ragged top."""
    body, tops = foliage(rng), (thing.height * rng.uniform(0.75, 1.2, 9)).tolist()
    for plane, span in canvas.faces(thing):
        top = [(span * i / 8, b) for i, b in enumerate(tops)]
        plane.poly([(0, 0), *top, (span, 0)], body, VEGETATION)


def tree(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A trunk, which looks like a pole, and a ragged crown."""
    plane, leaves, bark = Plane(canvas, thing.x, thing.z), foliage(rng), dark(rng)
    crown = thing.height * uniform(rng, 0.22, 0.34)
    middle = thing.height - crown
    plane.line([(0, 0), (0, middle)], uniform(rng, 0.12, 0.4), scaled(bark, 1.5), VEGETATION)
    for light in (1.0, 0.8, 1.25, 0.9):
        a, b = uniform(rng, -0.45, 0.45) * crown, middle + uniform(rng, -0.45, 0.45) * crown
        radii = (crown * rng.uniform(0.55, 1.05, len(CIRCLE))).tolist()
        blob = [(a + r * c, b + r * s) for (c, s), r in zip(CIRCLE, radii, strict=True)]
        plane.poly(blob, scaled(leaves, light), VEGETATION)


def bin_or_box(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A thing without a class."""
    colour = paint(rng)
    for plane, span in canvas.faces(thing):
        plane.rect(0, span, 0, thing.height, colour, VOID)
        colour = scaled(colour, 0.8)


def lamp_post(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A pole, most with an arm over the road."""
    arm = -math.copysign(uniform(rng, 0.8, 2.5), thing.x) if chance(rng, 0.7) else 0.0
    colour = dark(rng) if chance(rng, 0.5) else paving(rng)
    shape = [(0, 0), (0, thing.height), (arm, thing.height + 0.2)]
    Plane(canvas, thing.x, thing.z).line(shape, uniform(rng, 0.12, 0.26), colour, POLE)


def traffic_sign(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """One or two plates on a thin pole: discs, triangles, boards."""
    plane = Plane(canvas, thing.x, thing.z)
    plane.line([(0, 0), (0, thing.height)], 0.1, paving(rng), POLE)
    for plate in range(1 + chance(rng, 0.35)):
        b, radius, shape = thing.height - 0.8 * plate, uniform(rng, 0.3, 0.5), rng.random()
        for colour, r, label in ((paint(rng), radius, SIGN), (paint(rng), 0.65 * radius, None)):
            if shape < 0.4:
                plane.disc(0, b, r, colour, label)
            elif shape < 0.65:
                plane.poly([(-r, b - 0.8 * r), (r, b - 0.8 * r), (0, b + r)], colour, label)
            else:
                plane.rect(-1.3 * r, 1.3 * r, b - 0.8 * r, b + 0.8 * r, colour, label)


def traffic_light(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A dark box with three lamps, one lit, on a pole and perhaps on an arm over the road."""
    plane, box, steel, h = Plane(canvas, thing.x, thing.z), dark(rng), paving(rng), thing.height
    arm = -math.copysign(uniform(rng, 2, 3.5), thing.x) if chance(rng, 0.45) else 0.0
    plane.line([(0, 0), (0, h), (arm, h + abs(arm) / 3)], 0.12, steel, POLE)
    lit = int(rng.integers(3))
    for a, b in [(0.0, h - 1.0), (arm, h + abs(arm) / 3 - 1.0)][: 2 if arm else 1]:
        plane.rect(a - 0.22, a + 0.22, b, b + 1.05, box, LIGHT)
        for lamp, colour in enumerate(((60, 235, 130, 0), (250, 190, 50, 0), (245, 50, 40, 0))):
            plane.disc(a, b + 0.2 + 0.32 * lamp, 0.13, scaled(colour, 1.0 if lamp == lit else 0.25))


# --- people and two-wheelers --------------------------------------------------------------------------------


def upper_body(plane: Plane, hip: Point, neck: Point, hand: Point, label: int, rng: Generator) -> None:
    """Torso, arm, head and hair: the same for pedestrians and riders."""
    coat, skin, hair = paint(rng), hsv(rng, (0.03, 0.09), (0.2, 0.6), (0.3, 0.9), 10), paint(rng)
    plane.line([hip, neck], uniform(rng, 0.34, 0.48), coat, label)
    plane.line([neck, hand], 0.13, scaled(coat, 0.8), label)
    a, b = neck[0] + 0.15 * (neck[0] - hip[0]), neck[1] + 0.18
    # A head is round, however narrow its rider looks from the front.
    facing = Plane(plane.canvas, plane.x + a * plane.along[0], plane.z + a * plane.along[1])
    facing.disc(0, b, 0.14, skin, label)
    facing.poly([(0.14 * c, b + 0.14 * s) for c, s in CIRCLE[:7]], hair)


def pedestrian(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Stands on two legs."""
    plane, k, trousers = Plane(canvas, thing.x, thing.z), thing.height / 1.75, paint(rng)
    stride, hip = uniform(rng, 0.05, 0.35) * k, (0.0, 0.85 * k)
    plane.line([(-stride, 0), hip, (stride, 0)], 0.17, trousers, PERSON)
    upper_body(plane, hip, (0.0, 1.42 * k), (uniform(rng, -0.4, 0.4), hip[1]), PERSON, rng)


def two_wheeler(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A bicycle or motorcycle at any angle; what is as tall as a man has a rider."""
    angle = uniform(rng, 0, 0.6) if thing.across or chance(rng, 0.3) else uniform(rng, 0.9, 1.35)
    ahead, away = (-1 if chance(rng, 0.5) else 1 for _ in range(2))
    plane = Plane(canvas, thing.x, thing.z, (ahead * math.cos(angle), away * math.sin(angle)))
    (bicycle if thing.label == BICYCLE else motorcycle)(plane, rng)
    if thing.height > 1.5:
        plane.line([(-0.2, 0.95), (0.2, 0.65), (0.05, 0.25)], 0.16, paint(rng), RIDER)
        upper_body(plane, (-0.2, 0.92), (uniform(rng, -0.1, 0.2), 1.45), (0.45, 1.0), RIDER, rng)


def bicycle(plane: Plane, rng: Generator) -> None:
    """Rings, spokes and tubes; a wheel is labelled as a disc although one sees through, as in Cityscapes."""
    tyre, tube = dark(rng), paint(rng)
    for hub in (-0.52, 0.52):
        plane.disc(hub, 0.34, 0.35, None, BICYCLE)
        plane.line([(hub + 0.33 * c, 0.34 + 0.33 * s) for c, s in [*CIRCLE, CIRCLE[0]]], 0.05, tyre)
        for c, s in CIRCLE[:6:2]:
            plane.line([(hub - 0.3 * c, 0.34 - 0.3 * s), (hub + 0.3 * c, 0.34 + 0.3 * s)], 0.012, tyre)
    frame = [(-0.2, 0.9), (0.02, 0.34), (-0.52, 0.34), (-0.18, 0.8), (0.38, 0.82), (0.02, 0.34)]
    for tubes in (frame, [(0.52, 0.34), (0.4, 0.95), (0.5, 1.0)]):
        plane.line(tubes, 0.05, tube, BICYCLE)


def motorcycle(plane: Plane, rng: Generator) -> None:
    """Fat wheels and a closed body."""
    tyre, body = dark(rng), paint(rng)
    for hub in (-0.68, 0.68):
        plane.disc(hub, 0.32, 0.34, tyre, MOTORCYCLE)
        plane.disc(hub, 0.32, 0.16, scaled(body, 0.7))
    tank = [(-0.6, 0.35), (-0.75, 0.8), (-0.1, 0.78), (0.25, 0.98), (0.5, 0.8), (0.35, 0.3)]
    plane.poly(tank, body, MOTORCYCLE)
    plane.rect(-0.3, 0.3, 0.22, 0.5, tyre, MOTORCYCLE)
    plane.line([(0.68, 0.32), (0.42, 1.05), (0.3, 1.1)], 0.08, tyre, MOTORCYCLE)


# --- vehicles: a side (from front to rear) and an end each --------------------------------------------------


@dataclass(frozen=True)
class Coat:
    """What tells two vehicles of a class apart; the colours come from the same families for every class."""

    label: int
    body: Colour
    pane: Colour
    trim: Colour
    rubber: Colour
    front: bool  # shows its front, not its rear
    panels: bool  # a truck with a box that looks like a row of windows


def vehicle(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """The flank, if it shows, then the near face; the heading says which of them is the side."""
    front = chance(rng, 0.5)
    coat = Coat(thing.label, paint(rng), glass(rng), paint(rng), dark(rng), front, chance(rng, 0.5))
    side, end = VEHICLES[thing.label][:2]
    *flank, (near, span) = canvas.faces(thing)
    for plane, length in flank:
        if thing.across:
            end(plane, length, thing.height, coat)
        else:
            side(plane if front else plane.turned(length), length, thing.height, coat)
    if thing.across:
        at_left = not flank or flank[0][0].inward[0] > 0  # where the visible end is
        side(near if at_left == front else near.turned(span), span, thing.height, coat)
    else:
        end(near, span, thing.height, coat)


def wheels(plane: Plane, radius: float, coat: Coat, *places: float) -> None:
    for a in places:
        plane.disc(a, radius, radius, coat.rubber, coat.label)
        plane.disc(a, radius, 0.5 * radius, scaled(coat.rubber, 2.2))


def tyres_and_lamps(plane: Plane, w: float, tall: float, b: float, coat: Coat) -> None:
    for a in (0.05, w - 0.3):
        plane.rect(a, a + 0.25, 0, tall, coat.rubber, coat.label)
    for a in (0.14 * w, 0.86 * w):
        plane.disc(a, b, 0.12, (250, 240, 200, 0) if coat.front else (200, 30, 30, 0))


def car_side(plane: Plane, d: float, h: float, coat: Coat) -> None:
    belt, rear = 0.6 * h, d - 0.85
    cabin = [(1.05, belt), (1.65, h), (rear, h), (d - 0.15, belt)]
    plane.poly([(0, 0.25), (0, belt), *cabin, (d, belt), (d, 0.25)], coat.body, coat.label)
    plane.poly([(1.3, belt), (1.75, 0.94 * h), (0.55 * d, 0.94 * h), (0.55 * d, belt)], coat.pane)
    plane.poly([(0.59 * d, belt), (0.59 * d, 0.94 * h), (rear, 0.94 * h), (d - 0.4, belt)], coat.pane)
    wheels(plane, 0.32, coat, 0.19 * d, 0.8 * d)


def car_end(plane: Plane, w: float, h: float, coat: Coat) -> None:
    """Lid, then the leaning cabin with its window, then the body below the belt."""
    belt, foot, top = 0.6 * h, 1.05 if coat.front else 0.15, 1.65 if coat.front else 0.85
    lid = plane.points([(0, belt), (w, belt)]) + plane.points([(w, belt), (0, belt)], foot)
    plane.canvas.fill(lid, scaled(coat.body, 1.1), coat.label, plane.z)
    for a, b, colour in ((0.0, h, coat.body), (0.14, 0.95 * h, coat.pane)):
        lean = foot + (top - foot) * (b - belt) / (h - belt)
        cabin = plane.points([(a, belt), (w - a, belt)], foot) + plane.points([(w - a, b), (a, b)], lean)
        plane.canvas.fill(cabin, colour, coat.label, plane.z)
    plane.rect(0, w, 0.25, belt, scaled(coat.body, 0.9), coat.label)
    plane.rect(0.36 * w, 0.64 * w, 0.38, 0.5, (225, 225, 215, 0))
    tyres_and_lamps(plane, w, 0.35, 0.48 * h, coat)


def coach_side(plane: Plane, d: float, h: float, coat: Coat) -> None:
    """Bus and train have the same long windowed box."""
    plane.rect(0, d, 0.32, h, coat.body, coat.label)
    plane.rect(0, d, 0.9, 1.15, coat.trim)
    plane.panes(0, d, 0.48 * h, 0.84 * h, round(d / 1.7), coat.pane)


def coach_end(plane: Plane, w: float, h: float, coat: Coat) -> None:
    plane.rect(0, w, 0.32, h, scaled(coat.body, 0.9), coat.label)
    plane.rect(0.08 * w, 0.92 * w, 0.45 * h, 0.84 * h, coat.pane)
    plane.rect(0.25 * w, 0.75 * w, 0.87 * h, 0.96 * h, coat.trim)


def bus_side(plane: Plane, d: float, h: float, coat: Coat) -> None:
    coach_side(plane, d, h, coat)
    plane.rect(0.04 * d, 0.13 * d, 0.45, 0.84 * h, coat.pane)
    wheels(plane, 0.48, coat, 0.22 * d, 0.76 * d)


def bus_end(plane: Plane, w: float, h: float, coat: Coat) -> None:
    coach_end(plane, w, h, coat)
    tyres_and_lamps(plane, w, 0.45, 0.7, coat)


def train_side(plane: Plane, d: float, h: float, coat: Coat) -> None:
    """No wheels but a skirt, several cars, and a pantograph."""
    coach_side(plane, d, h, coat)
    plane.rect(0, d, 0.06, 0.4, coat.rubber, coat.label)
    for joint in range(9, int(d), 9):
        plane.rect(joint - 0.3, joint + 0.3, 0.3, h, coat.rubber)
    plane.line([(0.3 * d, h), (0.3 * d + 0.6, h + 0.4), (0.3 * d, h + 0.8)], 0.06, coat.rubber, coat.label)


def train_end(plane: Plane, w: float, h: float, coat: Coat) -> None:
    coach_end(plane, w, h, coat)
    plane.rect(0, w, 0.06, 0.4, coat.rubber, coat.label)
    for a in (0.14 * w, 0.86 * w) if coat.front else (0.5 * w,):
        plane.disc(a, 0.8, 0.12, (250, 240, 200, 0))


def truck_side(plane: Plane, d: float, h: float, coat: Coat) -> None:
    """A cab, a gap, a box on a chassis."""
    plane.rect(0.04 * d, d, 0.5, 0.85, coat.rubber, coat.label)
    plane.rect(0, 0.22 * d, 0.4, 0.8 * h, coat.body, coat.label)
    plane.rect(0.05 * d, 0.17 * d, 0.45 * h, 0.74 * h, coat.pane)
    plane.rect(0.27 * d, d, 0.85, h, coat.trim, coat.label)
    if coat.panels:
        plane.panes(0.28 * d, d, 0.48 * h, 0.84 * h, 5, coat.pane)
    wheels(plane, 0.48, coat, 0.12 * d, 0.7 * d, 0.86 * d)


def truck_end(plane: Plane, w: float, h: float, coat: Coat) -> None:
    if coat.front:
        plane.rect(0, w, 0.4, 0.8 * h, scaled(coat.body, 0.9), coat.label)
        plane.rect(0.1 * w, 0.9 * w, 0.45 * h, 0.74 * h, coat.pane)
    else:
        plane.rect(0.1, w - 0.1, 0.6, 0.85, coat.rubber, coat.label)
        plane.rect(0, w, 0.85, h, scaled(coat.trim, 0.9), coat.label)
        plane.line([(w / 2, 0.85), (w / 2, h)], 0.05, scaled(coat.trim, 0.5))
    tyres_and_lamps(plane, w, 0.8, 0.75, coat)


Art = Callable[[Plane, float, float, Coat], None]
VEHICLES: dict[int, tuple[Art, Art, Point, Point, Point]] = {  # side, end, from-to of width, length, height
    CAR: (car_side, car_end, (1.7, 1.9), (3.8, 4.9), (1.42, 2.0)),
    TRUCK: (truck_side, truck_end, (2.3, 2.5), (6.5, 10), (2.7, 3.6)),
    BUS: (bus_side, bus_end, (2.4, 2.6), (9, 13), (2.8, 3.4)),
    TRAIN: (train_side, train_end, (2.4, 2.7), (18, 36), (3.0, 3.6)),
}


def make_vehicle(label: int, x: float, z: float, rng: Generator, across: bool = False) -> Thing:
    width, length, height = (uniform(rng, *interval) for interval in VEHICLES[label][2:])
    if across:
        width, length = length, width
    return Thing(vehicle, x, z, width, length, height, label, across)


# --- the street ---------------------------------------------------------------------------------------------


class Street:
    """The plan: where road, lawns, sidewalks, junction and rails are, and what stands on them.

    From the kerb outwards each side has a lawn, a sidewalk, a verge, a front; lawn and verge may be absent.
    """

    def __init__(self, rng: Generator) -> None:
        self.left, self.right = -uniform(rng, 4.8, 8), uniform(rng, 2.2, 4.6)
        self.lawns = [uniform(rng, 0.8, 3) if chance(rng, 0.35) else 0.0 for _ in range(2)]
        self.walks = [lawn + uniform(rng, 1.8, 6) for lawn in self.lawns]  # outer edge, from the kerb
        self.fronts = [walk + (uniform(rng, 1, 8) if chance(rng, 0.55) else 0.0) for walk in self.walks]
        self.junction = uniform(rng, 10, 35) if chance(rng, 0.55) else 1000.0
        self.has_train = chance(rng, 0.36)
        self.rails = uniform(rng, self.left + 1.6, -3.2) if self.has_train or chance(rng, 0.15) else None

    def beside(self, side: int, metres: float) -> float:
        """x of the line that many metres outside the road, on the left (0) or right (1)."""
        return self.right + metres if side else self.left - metres

    def paint_ground(self, canvas: Canvas, things: Sequence[Thing], rng: Generator) -> None:
        """Sky and clouds, terrain, sidewalks, road and its marks, then shadows and haze."""
        w, h, sky = canvas.width, canvas.height, hsv(rng, (0.53, 0.64), (0.02, 0.6), (0.55, 1.0), 8)
        canvas.fill([(0, 0), (w, 0), (w, h), (0, h)], sky, SKY)
        for _ in range(int(rng.integers(9))):
            plane, level = Plane(canvas, uniform(rng, -150, 150), FAR), uniform(rng, 20, 70)
            cloud = [(30 * c, level + uniform(rng, 3, 8) * s) for c, s in CIRCLE]
            plane.poly(cloud, scaled(sky, 1.15))
        soil = foliage(rng) if chance(rng, 0.65) else paving(rng)
        road, walk, kerb = paving(rng), paving(rng), uniform(rng, 0.7, 1.3)
        canvas.strip(-400, 400, NEAR, 400, (*soil[:3], 90), TERRAIN)
        for side in (0, 1):
            for inner, outer, light in ((self.lawns[side], self.walks[side], 1.0), (0.0, 0.2, kerb)):
                edges = self.beside(side, inner), self.beside(side, outer)
                canvas.strip(*edges, NEAR, FAR, scaled(walk, light), SIDEWALK)
        canvas.strip(self.left, self.right, NEAR, FAR, road, ROAD)
        if self.junction < FAR:
            canvas.strip(-60, 60, self.junction, self.junction + 7, road, ROAD)
        self._marks(canvas, road, rng)
        canvas.cast_shadows(things)
        canvas.haze_background()

    def _marks(self, canvas: Canvas, road: Colour, rng: Generator) -> None:
        """Patches, lane marks, a zebra crossing at the junction, rails: all of them road."""
        for _ in range(4):
            x, z = uniform(rng, self.left, self.right - 1.5), uniform(rng, 4, 30)
            patch = scaled(road, uniform(rng, 0.8, 1.15))
            canvas.strip(x, x + uniform(rng, 0.4, 1.5), z, z + uniform(rng, 0.5, 5), patch)
        white = hsv(rng, (0.1, 0.16), (0, 0.3), (0.6, 0.95), 40)
        for z in np.arange(uniform(rng, 3, 6), 70, uniform(rng, 4, 9)).tolist():
            canvas.strip(-1.75, -1.6, z, z + 2.5, white)
        if self.junction < FAR and chance(rng, 0.7):
            for x in np.arange(self.left + 0.5, self.right - 0.5, 1.1).tolist():
                canvas.strip(x, x + 0.5, self.junction - 3.5, self.junction - 0.8, white)
        for x in () if self.rails is None else (self.rails - 0.72, self.rails + 0.72):
            canvas.strip(x - 0.06, x + 0.06, NEAR, FAR, scaled(road, 0.5))

    def things(self, rng: Generator) -> Iterator[Thing]:
        """Everything that stands on the street, in no order."""
        for side in (0, 1):
            yield from self._fronts(side, rng)
            yield from self._furniture(side, rng)
            yield from self._walkers(side, rng)
        yield from self._traffic(rng)
        yield from self._riders(rng)
        for x in np.arange(-140, 140, 14).tolist():  # what closes the view where the street ends
            kind, tall = ((building, 18.0), (tree, 14.0), (hedge, 5.0))[int(rng.integers(3))]
            yield Thing(kind, x + uniform(rng, -4, 4), uniform(rng, 140, 150), 15, 1, uniform(rng, 5, tall))

    def _fronts(self, side: int, rng: Generator) -> Iterator[Thing]:
        """Buildings, walls, fences and hedges beyond the sidewalk, with a gap at the junction."""
        z = uniform(rng, 1.6, 4)
        while z < 110:
            end = z + uniform(rng, 7, 22)
            if z < self.junction < end + 3:
                end = self.junction - 1
            if end - z > 2:
                yield from self._front(side, z, end, rng)
            z = self.junction + 8 if end == self.junction - 1 else max(end, z + 1)

    def _front(self, side: int, z: float, end: float, rng: Generator) -> Iterator[Thing]:
        """One stretch of front, and houses or trees behind it if it is low."""
        draw = float(rng.random())
        kinds = ((0.42, building, 5, 22, 10), (0.64, wall, 1.1, 3.2, 0.4), (0.86, fence, 1.0, 2.6, 0.1))
        _, kind, low, high, deep = next((row for row in kinds if draw < row[0]), (1, hedge, 0.8, 3, 2))
        place, length = self.fronts[side], end - z
        x = self.beside(side, place + deep / 2)
        yield Thing(kind, x, z, deep, length, uniform(rng, low, high), reach=length)
        if kind is building or chance(rng, 0.25):
            return
        if chance(rng, 0.4):
            x = self.beside(side, place + uniform(rng, 7, 12))
            yield Thing(building, x, z, 9, length, uniform(rng, 5, 14), reach=length + 0.1)
        else:
            for at in np.arange(end - 1, z, -5).tolist():
                x, height = self.beside(side, place + uniform(rng, 3, 7)), uniform(rng, 5, 9)
                yield Thing(tree, x, at, 1.5, 1.5, height, reach=end - at + 0.1)

    def _furniture(self, side: int, rng: Generator) -> Iterator[Thing]:
        """Poles, signs, lights, trees at the kerb, bins at the other edge of the sidewalk."""
        kerb = self.beside(side, 0.4)
        for z in np.arange(uniform(rng, 5, 20), 80, uniform(rng, 14, 30)).tolist():
            yield Thing(lamp_post, kerb, z, 0.15, height=uniform(rng, 4, 9))
        for _ in range(int(rng.integers(4))):
            yield Thing(traffic_sign, kerb, uniform(rng, 5, 24), height=uniform(rng, 2.2, 3.2))
        if self.junction < FAR or chance(rng, 0.25):
            z = min(self.junction - 1, uniform(rng, 7, 22))
            yield Thing(traffic_light, kerb, z, height=uniform(rng, 2.9, 3.6))
        if chance(rng, 0.4):
            for z in np.arange(uniform(rng, 6, 14), 70, uniform(rng, 7, 14)).tolist():
                yield Thing(tree, self.beside(side, 0.8), z, 1.5, 1.5, uniform(rng, 4, 9))
        for _ in range(int(rng.integers(3))):
            sizes = rng.uniform(0.4, 1.3, 3).tolist()
            yield Thing(bin_or_box, self.beside(side, self.walks[side] - 0.7), uniform(rng, 6, 30), *sizes)

    def _walkers(self, side: int, rng: Generator) -> Iterator[Thing]:
        """Pedestrians, and two-wheelers parked in a row."""
        for _ in range(int(rng.integers(7))):
            x = self.beside(side, uniform(rng, self.lawns[side] + 0.3, self.walks[side]))
            yield Thing(pedestrian, x, uniform(rng, 4, 24), height=uniform(rng, 1.3, 1.95))
        for label, odds in ((BICYCLE, 0.35), (MOTORCYCLE, 0.2)):
            if chance(rng, odds):
                x, z = self.beside(side, uniform(rng, 0.6, 1.4)), uniform(rng, 5, 14)
                for place in range(int(rng.integers(1, 4))):
                    yield Thing(two_wheeler, x, z + 1.2 * place, 0.6, 0.8, 1.0, label)

    def _traffic(self, rng: Generator) -> Iterator[Thing]:
        """Queues of vehicles in their lanes, some crossing at the junction."""
        queue = [CAR] * int(rng.integers(2, 8)) + [label for label in (TRUCK, BUS) if chance(rng, 0.44)]
        lanes = {0.0: uniform(rng, 7, 22), -3.4: uniform(rng, 5, 16), self.left + 1.1: uniform(rng, 5, 12)}
        if self.right > 3.4:
            lanes[self.right - 1.0] = uniform(rng, 5, 10)
        if self.has_train and self.rails is not None:
            yield make_vehicle(TRAIN, self.rails, uniform(rng, 7, 24), rng)
            lanes = {x: z for x, z in lanes.items() if abs(x - self.rails) > 2.4}
        for label in rng.permutation(queue).tolist():
            if self.junction < 30 and chance(rng, 0.3):
                x, z = uniform(rng, -12, 8), self.junction + uniform(rng, 1, 4)
                yield make_vehicle(label, x, z, rng, across=True)
            else:
                x = list(lanes)[int(rng.integers(len(lanes)))]
                thing = make_vehicle(label, x, lanes[x], rng)
                lanes[x] += thing.length + uniform(rng, 1, 10)
                yield thing

    def _riders(self, rng: Generator) -> Iterator[Thing]:
        """Riders and a pedestrian on the road, clear of the train."""
        left = self.rails + 1.8 if self.has_train and self.rails is not None else self.left + 0.5
        for label, odds in ((BICYCLE, 0.45), (MOTORCYCLE, 0.35)):
            if chance(rng, odds):
                x, z = uniform(rng, left, self.right - 0.3), uniform(rng, 4.5, 14)
                yield Thing(two_wheeler, x, z, 0.6, 1.4, 1.8, label, across=chance(rng, 0.4))
        if chance(rng, 0.4):
            yield Thing(pedestrian, uniform(rng, left, self.right), uniform(rng, 6, 20))


def paint_bonnet(canvas: Canvas, rng: Generator) -> None:
    """Our own car, which has no class, in half of the scenes."""
    if chance(rng, 0.5):
        colour, rise, lean = paint(rng), uniform(rng, 0.03, 0.1), uniform(rng, -0.2, 0.2)
        outline = [(1 + lean + 1.1 * c, 1 - rise * max(s, 0.0) ** 0.5) for c, s in CIRCLE[:7]]
        points = [(x * canvas.width / 2, y * canvas.height) for x, y in outline]
        canvas.fill([*points, (0, canvas.height + 1), (canvas.width, canvas.height + 1)], colour, VOID)
