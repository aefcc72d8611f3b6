"""Cars, buses, trains and trucks, seen from the side or from an end."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from bisenet.data.streets import classes, colours
from bisenet.data.streets.canvas import Canvas, Plane, Point, Thing
from bisenet.data.streets.colours import WHITE, Colour, chance, scaled, uniform

# --- vehicles: a side (from front to rear) and an end each --------------------------------------------------


@dataclass(frozen=True)
class Coat:
    """What tells two vehicles of a class apart: lacquer or livery, windows, stripe or box, tyres."""

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
    body = colours.lacquer(rng) if thing.label == classes.CAR or chance(rng, 0.3) else colours.livery(rng)
    trim = colours.livery(rng) if chance(rng, 0.4) else WHITE
    if thing.label == classes.TRAIN:  # a light car with a stripe
        body, trim = scaled(WHITE, uniform(rng, 0.7, 1)), body
    coat = Coat(thing.label, body, colours.glass(rng), trim, colours.dark(rng), front, chance(rng, 0.3))
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
    plane.rect(0, w, 0.25, belt, coat.body, coat.label)
    plane.rect(0.36 * w, 0.64 * w, 0.38, 0.5, (225, 225, 215, 0))
    tyres_and_lamps(plane, w, 0.35, 0.48 * h, coat)


def coach_side(plane: Plane, d: float, h: float, coat: Coat) -> None:
    """Bus and train have the same long windowed box."""
    plane.rect(0, d, 0.32, h, coat.body, coat.label)
    plane.rect(0, d, 0.7, 0.44 * h, coat.trim)
    plane.panes(0, d, 0.48 * h, 0.84 * h, round(d / 1.7), coat.pane)


def coach_end(plane: Plane, w: float, h: float, coat: Coat) -> None:
    plane.rect(0, w, 0.32, h, coat.body, coat.label)
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
        plane.rect(0, w, 0.4, 0.8 * h, coat.body, coat.label)
        plane.rect(0.1 * w, 0.9 * w, 0.45 * h, 0.74 * h, coat.pane)
    else:
        plane.rect(0.1, w - 0.1, 0.6, 0.85, coat.rubber, coat.label)
        plane.rect(0, w, 0.85, h, coat.trim, coat.label)
        plane.line([(w / 2, 0.85), (w / 2, h)], 0.05, scaled(coat.trim, 0.5))
    tyres_and_lamps(plane, w, 0.8, 0.75, coat)


Art = Callable[[Plane, float, float, Coat], None]
VEHICLES: dict[int, tuple[Art, Art, Point, Point, Point]] = {  # side, end, from-to of width, length, height
    classes.CAR: (car_side, car_end, (1.7, 1.9), (3.8, 4.9), (1.42, 2.0)),
    classes.TRUCK: (truck_side, truck_end, (2.3, 2.5), (6.5, 10), (2.7, 3.6)),
    classes.BUS: (bus_side, bus_end, (2.4, 2.6), (9, 13), (2.8, 3.4)),
    classes.TRAIN: (train_side, train_end, (2.4, 2.7), (18, 36), (3.0, 3.6)),
}


def make_vehicle(label: int, x: float, z: float, rng: Generator, across: bool = False) -> Thing:
    width, length, height = (uniform(rng, *interval) for interval in VEHICLES[label][2:])
    if across:
        width, length = length, width
    return Thing(vehicle, x, z, width, length, height, label, across)
