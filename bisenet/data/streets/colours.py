"""Materials, each with the colours that it has in life, which overlap between classes; and what they are drawn with."""

import colorsys
from functools import partial

from numpy.random import Generator

Colour = tuple[int, int, int, int]  # red, green, blue, and how strongly the surface is textured
Interval = tuple[float, float]
WHITE: Colour = (235, 235, 230, 5)


def chance(rng: Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def uniform(rng: Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def hsv(rng: Generator, hue: Interval, saturation: Interval, value: Interval, texture: int) -> Colour:
    """A colour with hue, saturation and value drawn from the given intervals."""
    rgb = colorsys.hsv_to_rgb(uniform(rng, *hue), uniform(rng, *saturation), uniform(rng, *value))
    red, green, blue = (round(255 * channel) for channel in rgb)
    return red, green, blue, texture


# Concrete or stone, of walls; also of some houses. Slabs of a sidewalk, lighter and warmer than most asphalt.
concrete = partial(hsv, hue=(0.05, 0.16), saturation=(0.02, 0.18), value=(0.4, 0.7), texture=90)
slabs = partial(hsv, hue=(0.02, 0.12), saturation=(0.05, 0.25), value=(0.45, 0.74), texture=45)
earth = partial(hsv, hue=(0.07, 0.12), saturation=(0.3, 0.5), value=(0.3, 0.5), texture=90)
grass = partial(hsv, hue=(0.18, 0.28), saturation=(0.4, 0.65), value=(0.36, 0.56), texture=90)
zinc = partial(hsv, hue=(0.5, 0.65), saturation=(0.0, 0.1), value=(0.35, 0.62), texture=15)  # galvanised: poles, fences
glass = partial(hsv, hue=(0.5, 0.65), saturation=(0.1, 0.35), value=(0.12, 0.5), texture=30)
dark = partial(hsv, hue=(0.0, 1.0), saturation=(0.0, 0.15), value=(0.06, 0.25), texture=25)  # rubber, iron


def plaster(rng: Generator) -> Colour:
    """Plaster or brick, of houses."""
    if chance(rng, 0.3):
        return hsv(rng, (0.0, 0.05), (0.35, 0.6), (0.4, 0.65), 60)
    return hsv(rng, (0.05, 0.15), (0.05, 0.4), (0.55, 0.9), 50)


def asphalt(rng: Generator) -> Colour:
    return hsv(rng, (0.55, 0.7) if chance(rng, 0.7) else (0.0, 0.12), (0.0, 0.1), (0.24, 0.44), 40)


def leaves(rng: Generator) -> Colour:
    """Darker than grass; some are autumnal."""
    if chance(rng, 0.15):
        return hsv(rng, (0.08, 0.14), (0.5, 0.75), (0.3, 0.5), 150)
    return hsv(rng, (0.24, 0.38), (0.35, 0.65), (0.14, 0.38), 150)


def lacquer(rng: Generator) -> Colour:
    """Cars, motorcycles: white, silver and black more often than a colour."""
    if chance(rng, 0.6):
        return hsv(rng, (0.5, 0.65), (0.0, 0.1), (0.75, 0.95) if chance(rng, 0.5) else (0.1, 0.5), 15)
    return hsv(rng, (0.55, 0.68) if chance(rng, 0.5) else (0.95, 1.03), (0.5, 0.9), (0.3, 0.75), 15)


def livery(rng: Generator) -> Colour:
    """Buses, shop signs, tarpaulins: a colour to be seen from afar."""
    hues = ((0.97, 1.02), (0.1, 0.15), (0.3, 0.42), (0.55, 0.6))
    return hsv(rng, hues[int(rng.integers(4))], (0.6, 0.9), (0.5, 0.9), 20)


def signal(rng: Generator) -> Colour:
    """The red, blue and yellow of traffic signs."""
    hues = ((0.97, 1.0), (0.97, 1.0), (0.58, 0.63), (0.12, 0.15))
    return hsv(rng, hues[int(rng.integers(4))], (0.75, 0.95), (0.6, 0.95), 5)


def cloth(rng: Generator) -> Colour:
    """Coats and trousers: mostly dark, some in a colour."""
    if chance(rng, 0.6):
        return hsv(rng, (0.55, 0.7), (0.1, 0.5), (0.1, 0.4), 25)
    return hsv(rng, (0.0, 1.0), (0.3, 0.8), (0.3, 0.9), 25)


def scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(factor * channel)) for channel in colour[:3])
    return red, green, blue, colour[3]
