"""One function for each kind of thing: along the street, people and two-wheelers."""

import math

import numpy as np
from numpy.random import Generator

from bisenet.data.streets import classes, colours
from bisenet.data.streets.canvas import CIRCLE, Canvas, Plane, Point, Thing
from bisenet.data.streets.colours import WHITE, chance, hsv, scaled, uniform

# --- along the street ---------------------------------------------------------------------------------------


def building(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A tall box with rows of windows, some with a shop below; a low one has a pitched roof."""
    body = colours.plaster(rng) if chance(rng, 0.8) else colours.concrete(rng)
    pane, style = colours.glass(rng), rng.random()
    shop, tiles = colours.livery(rng), hsv(rng, (0.0, 0.06), (0.3, 0.6), (0.3, 0.5), 60)
    for plane, span in canvas.faces(thing):
        if thing.height < 13:
            roof = plane.points([(0, thing.height), (span, thing.height)])
            roof += plane.points([(span, thing.height + 2.5), (0, thing.height + 2.5)], behind=2.5)
            canvas.fill(roof, scaled(tiles, plane.light), classes.BUILDING, thing.z)
        plane.rect(0, span, 0, thing.height, body, classes.BUILDING)
        for floor in range(min(5, int(thing.height / 3.2)) if thing.z < 70 else 0):
            sill, count = 0.9 + 3.2 * floor, max(1, int(span / 3))
            if style < 0.3:
                plane.rect(0.4, span - 0.4, sill, sill + 1.5, pane)
            else:
                plane.panes(0, span, sill, sill + 1.6, count, pane)
        if style > 0.75:
            plane.rect(0.5, span - 0.5, 2.6, 3.3, shop)


def wall(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Low, of concrete or of the bricks of houses, without windows, with a lighter cap; some have a poster."""
    body = colours.concrete(rng) if chance(rng, 0.75) else colours.plaster(rng)
    poster, joints = colours.livery(rng), 4 if chance(rng, 0.5) else 1
    for plane, span in canvas.faces(thing):
        plane.rect(0, span, 0, thing.height, body, classes.WALL)
        if joints == 1 and span > 5:
            plane.rect(1, 3, 0.4, 0.8 * thing.height, poster)
        for course in range(1, joints + 1):
            level = thing.height * course / joints
            plane.line([(0, level), (span, level)], 0.04, scaled(body, 0.75))
        plane.rect(0, span, 0.92 * thing.height, thing.height, scaled(body, 1.15))


def fence(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Thin posts and rails; labelled as one area although one sees through, as in Cityscapes."""
    wood = hsv(rng, (0.06, 0.11), (0.35, 0.6), (0.3, 0.55), 60)
    colour = (colours.zinc(rng), colours.dark(rng), wood)[int(rng.integers(3))]
    posts = round(thing.length / uniform(rng, 0.35, 1.2))
    for plane, span in canvas.faces(thing)[:-1]:
        plane.rect(0, span, 0, thing.height, None, classes.FENCE)
        for a in np.linspace(0, span, posts + 1).tolist():
            plane.line([(a, 0), (a, thing.height)], 0.06, colour)
        for rail in (0.15, 0.55, 1.0):
            plane.line([(0, rail * thing.height), (span, rail * thing.height)], 0.05, colour)


def hedge(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Bushes in a row with a ragged top."""
    body, tops = colours.leaves(rng), (thing.height * rng.uniform(0.75, 1.2, 9)).tolist()
    for plane, span in canvas.faces(thing):
        top = [(span * i / 8, b) for i, b in enumerate(tops)]
        plane.poly([(0, 0), *top, (span, 0)], body, classes.VEGETATION)


def tree(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A trunk, which looks like a pole, and a ragged crown."""
    plane, crown_colour = Plane(canvas, thing.x, thing.z), colours.leaves(rng)
    bark = hsv(rng, (0.05, 0.1), (0.2, 0.5), (0.15, 0.35), 80)
    crown = thing.height * uniform(rng, 0.22, 0.34)
    middle = thing.height - crown
    plane.line([(0, 0), (0, middle)], uniform(rng, 0.12, 0.4), bark, classes.VEGETATION)
    for light in (1.0, 0.8, 1.25, 0.9):
        a, b = uniform(rng, -0.45, 0.45) * crown, middle + uniform(rng, -0.45, 0.45) * crown
        radii = (crown * rng.uniform(0.55, 1.05, len(CIRCLE))).tolist()
        blob = [(a + r * c, b + r * s) for (c, s), r in zip(CIRCLE, radii, strict=True)]
        plane.poly(blob, scaled(crown_colour, light), classes.VEGETATION)


def bin_or_box(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A thing without a class."""
    colour = colours.livery(rng) if chance(rng, 0.5) else colours.dark(rng)
    for plane, span in canvas.faces(thing):
        plane.rect(0, span, 0, thing.height, colour, classes.VOID)


def lamp_post(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A pole, most with an arm over the road."""
    arm = -math.copysign(uniform(rng, 0.8, 2.5), thing.x) if chance(rng, 0.7) else 0.0
    colour = colours.dark(rng) if chance(rng, 0.3) else colours.zinc(rng)
    shape = [(0, 0), (0, thing.height), (arm, thing.height + 0.2)]
    Plane(canvas, thing.x, thing.z).line(shape, uniform(rng, 0.12, 0.26), colour, classes.POLE)


def traffic_sign(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """One or two plates on a thin pole: discs, triangles, boards."""
    plane = Plane(canvas, thing.x, thing.z)
    plane.line([(0, 0), (0, thing.height)], 0.1, colours.zinc(rng), classes.POLE)
    for plate in range(1 + chance(rng, 0.35)):
        b, radius, shape = thing.height - 0.8 * plate, uniform(rng, 0.3, 0.5), rng.random()
        field = WHITE if chance(rng, 0.7) else colours.signal(rng)
        for colour, r, label in ((colours.signal(rng), radius, classes.SIGN), (field, 0.65 * radius, None)):
            if shape < 0.4:
                plane.disc(0, b, r, colour, label)
            elif shape < 0.65:
                plane.poly([(-r, b - 0.8 * r), (r, b - 0.8 * r), (0, b + r)], colour, label)
            else:
                plane.rect(-1.3 * r, 1.3 * r, b - 0.8 * r, b + 0.8 * r, colour, label)


def traffic_light(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A dark box with three lamps, one lit, on a pole and perhaps on an arm over the road."""
    plane, box, steel, h = Plane(canvas, thing.x, thing.z), colours.dark(rng), colours.zinc(rng), thing.height
    arm = -math.copysign(uniform(rng, 2, 3.5), thing.x) if chance(rng, 0.45) else 0.0
    plane.line([(0, 0), (0, h), (arm, h + abs(arm) / 3)], 0.12, steel, classes.POLE)
    lit = int(rng.integers(3))
    for a, b in [(0.0, h - 1.0), (arm, h + abs(arm) / 3 - 1.0)][: 2 if arm else 1]:
        plane.rect(a - 0.22, a + 0.22, b, b + 1.05, box, classes.LIGHT)
        for lamp, colour in enumerate(((60, 235, 130, 0), (250, 190, 50, 0), (245, 50, 40, 0))):
            plane.disc(a, b + 0.2 + 0.32 * lamp, 0.13, scaled(colour, 1.0 if lamp == lit else 0.25))


# --- people and two-wheelers --------------------------------------------------------------------------------


def upper_body(plane: Plane, hip: Point, neck: Point, hand: Point, label: int, rng: Generator) -> None:
    """Torso, arm and head: the same for pedestrians and riders, but for the helmet that most riders wear."""
    coat, skin = colours.cloth(rng), hsv(rng, (0.03, 0.09), (0.2, 0.6), (0.3, 0.9), 10)
    hair = colours.lacquer(rng) if label == classes.RIDER and chance(rng, 0.7) else colours.dark(rng)
    plane.line([hip, neck], uniform(rng, 0.34, 0.48), coat, label)
    plane.line([neck, hand], 0.13, scaled(coat, 0.8), label)
    a, b = neck[0] + 0.15 * (neck[0] - hip[0]), neck[1] + 0.18
    # A head is round, however narrow its rider looks from the front.
    facing = Plane(plane.canvas, plane.x + a * plane.along[0], plane.z + a * plane.along[1])
    facing.disc(0, b, 0.14, skin, label)
    facing.poly([(0.14 * c, b + 0.14 * s) for c, s in CIRCLE[:7]], hair)


def pedestrian(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """Stands on two legs."""
    plane, k, trousers = Plane(canvas, thing.x, thing.z), thing.height / 1.75, colours.cloth(rng)
    stride, hip = uniform(rng, 0.05, 0.35) * k, (0.0, 0.85 * k)
    plane.line([(-stride, 0), hip, (stride, 0)], 0.17, trousers, classes.PERSON)
    upper_body(plane, hip, (0.0, 1.42 * k), (uniform(rng, -0.4, 0.4), hip[1]), classes.PERSON, rng)


def two_wheeler(canvas: Canvas, thing: Thing, rng: Generator) -> None:
    """A bicycle or motorcycle at any angle; what is as tall as a man has a rider."""
    angle = uniform(rng, 0, 0.6) if thing.across or chance(rng, 0.3) else uniform(rng, 0.9, 1.35)
    ahead, away = (-1 if chance(rng, 0.5) else 1 for _ in range(2))
    plane = Plane(canvas, thing.x, thing.z, (ahead * math.cos(angle), away * math.sin(angle)))
    (bicycle if thing.label == classes.BICYCLE else motorcycle)(plane, rng)
    if thing.height > 1.5:
        plane.line([(-0.2, 0.95), (0.2, 0.65), (0.05, 0.25)], 0.16, colours.cloth(rng), classes.RIDER)
        upper_body(plane, (-0.2, 0.92), (uniform(rng, -0.1, 0.2), 1.45), (0.45, 1.0), classes.RIDER, rng)


def bicycle(plane: Plane, rng: Generator) -> None:
    """Rings, spokes and tubes; a wheel is labelled as a disc although one sees through, as in Cityscapes."""
    tyre, tube = colours.dark(rng), colours.lacquer(rng)
    for hub in (-0.52, 0.52):
        plane.disc(hub, 0.34, 0.35, None, classes.BICYCLE)
        plane.line([(hub + 0.33 * c, 0.34 + 0.33 * s) for c, s in [*CIRCLE, CIRCLE[0]]], 0.05, tyre)
        for c, s in CIRCLE[:6:2]:
            plane.line([(hub - 0.3 * c, 0.34 - 0.3 * s), (hub + 0.3 * c, 0.34 + 0.3 * s)], 0.012, tyre)
    frame = [(-0.2, 0.9), (0.02, 0.34), (-0.52, 0.34), (-0.18, 0.8), (0.38, 0.82), (0.02, 0.34)]
    for tubes in (frame, [(0.52, 0.34), (0.4, 0.95), (0.5, 1.0)]):
        plane.line(tubes, 0.05, tube, classes.BICYCLE)


def motorcycle(plane: Plane, rng: Generator) -> None:
    """Fat wheels and a closed body."""
    tyre, body = colours.dark(rng), colours.lacquer(rng)
    for hub in (-0.68, 0.68):
        plane.disc(hub, 0.32, 0.34, tyre, classes.MOTORCYCLE)
        plane.disc(hub, 0.32, 0.16, scaled(body, 0.7))
    tank = [(-0.6, 0.35), (-0.75, 0.8), (-0.1, 0.78), (0.25, 0.98), (0.5, 0.8), (0.35, 0.3)]
    plane.poly(tank, body, classes.MOTORCYCLE)
    plane.rect(-0.3, 0.3, 0.22, 0.5, tyre, classes.MOTORCYCLE)
    plane.line([(0.68, 0.32), (0.42, 1.05), (0.3, 1.1)], 0.08, tyre, classes.MOTORCYCLE)
