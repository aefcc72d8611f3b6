"""The plan of a street: its ground, and what stands and moves on it."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator

from bisenet.data.streets import classes, colours, painters
from bisenet.data.streets.canvas import CIRCLE, FAR, NEAR, Canvas, Plane, Thing
from bisenet.data.streets.colours import Colour, chance, hsv, scaled, uniform
from bisenet.data.streets.vehicles import make_vehicle


class Street:
    """The plan: where road, lawns, sidewalks, junction and rails are, and what stands on them.

    From the kerb outwards each side has a lawn, a sidewalk, a verge, a front; lawn and verge may be absent.
    """

    def __init__(self, rng: Generator) -> None:
        self.left, self.right = -uniform(rng, 4.8, 7), uniform(rng, 2, 3.6)
        self.lawns = [uniform(rng, 1.5, 4) if chance(rng, 0.45) else 0.0 for _ in range(2)]
        self.walks = [lawn + uniform(rng, 3, 7) for lawn in self.lawns]  # outer edge, from the kerb
        self.fronts = [walk + (uniform(rng, 2, 9) if chance(rng, 0.6) else 0.0) for walk in self.walks]
        self.junction = uniform(rng, 10, 35) if chance(rng, 0.55) else 1000.0
        self.has_train = chance(rng, 0.4)
        self.rails = uniform(rng, self.left + 1.6, -3.2) if self.has_train or chance(rng, 0.15) else None

    def beside(self, side: int, metres: float) -> float:
        """x of the line that many metres outside the road, on the left (0) or right (1)."""
        return self.right + metres if side else self.left - metres

    def paint_ground(self, canvas: Canvas, things: Sequence[Thing], rng: Generator) -> None:
        """Sky and clouds, terrain, sidewalks, road and its marks, then shadows and haze."""
        w, h, sky = canvas.width, canvas.height, hsv(rng, (0.53, 0.62), (0.02, 0.5), (0.75, 1.0), 8)
        canvas.fill([(0, 0), (w, 0), (w, h), (0, h)], sky, classes.SKY)
        for _ in range(int(rng.integers(9))):
            plane, level = Plane(canvas, uniform(rng, -150, 150), FAR), uniform(rng, 20, 70)
            cloud = [(30 * c, level + uniform(rng, 3, 8) * s) for c, s in CIRCLE]
            plane.poly(cloud, scaled(sky, 1.15))
        soil = colours.grass(rng) if chance(rng, 0.75) else colours.earth(rng)
        road, walk, kerb = scaled(colours.asphalt(rng), 1 - canvas.wet), colours.slabs(rng), uniform(rng, 1.05, 1.3)
        canvas.strip(-400, 400, NEAR, 400, soil, classes.TERRAIN)
        for side in (0, 1):
            for inner, outer, light in ((self.lawns[side], self.walks[side], 1.0), (0.0, 0.2, kerb)):
                edges = self.beside(side, inner), self.beside(side, outer)
                canvas.strip(*edges, NEAR, FAR, scaled(walk, light), classes.SIDEWALK)
        canvas.strip(self.left, self.right, NEAR, FAR, road, classes.ROAD)
        if self.junction < FAR:
            canvas.strip(-60, 60, self.junction, self.junction + 7, road, classes.ROAD)
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
            kind, tall = ((painters.building, 18.0), (painters.tree, 14.0), (painters.hedge, 5.0))[int(rng.integers(3))]
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
        kinds = (
            (0.34, painters.building, 5, 22, 10),
            (0.6, painters.wall, 1.8, 3.6, 0.4),
            (0.86, painters.fence, 1.6, 3, 0.1),
        )
        _, kind, low, high, deep = next((row for row in kinds if draw < row[0]), (1, painters.hedge, 0.8, 3, 2))
        place, length = self.fronts[side], end - z
        x = self.beside(side, place + deep / 2)
        yield Thing(kind, x, z, deep, length, uniform(rng, low, high), reach=length)
        if kind is painters.building or chance(rng, 0.25):
            return
        if chance(rng, 0.4):
            x = self.beside(side, place + uniform(rng, 7, 12))
            yield Thing(painters.building, x, z, 9, length, uniform(rng, 5, 14), reach=length + 0.1)
        else:
            for at in np.arange(end - 1, z, -5).tolist():
                x, height = self.beside(side, place + uniform(rng, 3, 7)), uniform(rng, 5, 9)
                yield Thing(painters.tree, x, at, 1.5, 1.5, height, reach=end - at + 0.1)

    def _furniture(self, side: int, rng: Generator) -> Iterator[Thing]:
        """Poles, signs, lights, trees at the kerb, bins at the other edge of the sidewalk."""
        kerb = self.beside(side, 0.4)
        for z in np.arange(uniform(rng, 5, 20), 80, uniform(rng, 14, 30)).tolist():
            yield Thing(painters.lamp_post, kerb, z, 0.15, height=uniform(rng, 4, 9))
        for _ in range(int(rng.integers(4))):
            yield Thing(painters.traffic_sign, kerb, uniform(rng, 5, 24), height=uniform(rng, 2.2, 3.2))
        if self.junction < FAR or chance(rng, 0.25):
            z = min(self.junction - 1, uniform(rng, 7, 22))
            yield Thing(painters.traffic_light, kerb, z, height=uniform(rng, 2.9, 3.6))
        if chance(rng, 0.4):
            for z in np.arange(uniform(rng, 6, 14), 70, uniform(rng, 7, 14)).tolist():
                yield Thing(painters.tree, self.beside(side, 0.8), z, 1.5, 1.5, uniform(rng, 4, 9))
        for _ in range(int(rng.integers(3))):
            sizes = rng.uniform(0.4, 1.3, 3).tolist()
            yield Thing(painters.bin_or_box, self.beside(side, self.walks[side] - 0.7), uniform(rng, 6, 30), *sizes)

    def _walkers(self, side: int, rng: Generator) -> Iterator[Thing]:
        """Pedestrians, and two-wheelers parked in a row."""
        for _ in range(int(rng.integers(8))):
            x = self.beside(side, uniform(rng, self.lawns[side] + 0.3, self.walks[side]))
            yield Thing(painters.pedestrian, x, uniform(rng, 3.5, 16), height=uniform(rng, 1.4, 1.95))
        for label, odds in ((classes.BICYCLE, 0.4), (classes.MOTORCYCLE, 0.3)):
            if chance(rng, odds):
                x, z = self.beside(side, uniform(rng, 0.6, 1.4)), uniform(rng, 4, 10)
                for place in range(int(rng.integers(1, 5))):
                    yield Thing(painters.two_wheeler, x, z + 1.2 * place, 0.6, 0.8, 1.0, label)

    def _traffic(self, rng: Generator) -> Iterator[Thing]:
        """Queues of vehicles in their lanes, some crossing at the junction."""
        queue = [classes.CAR] * int(rng.integers(2, 6))
        queue += [label for label in (classes.TRUCK, classes.BUS) if chance(rng, 0.6)]
        lanes = {0.0: uniform(rng, 7, 22), -3.4: uniform(rng, 5, 16), self.left + 1.1: uniform(rng, 5, 12)}
        if self.right > 3.4:
            lanes[self.right - 1.0] = uniform(rng, 5, 10)
        if self.has_train and self.rails is not None:
            yield make_vehicle(classes.TRAIN, self.rails, uniform(rng, 6, 18), rng)
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
        for label, odds in ((classes.BICYCLE, 0.55), (classes.MOTORCYCLE, 0.5)):
            if chance(rng, odds):
                x, z = uniform(rng, left, self.right - 0.3), uniform(rng, 4, 11)
                yield Thing(painters.two_wheeler, x, z, 0.6, 1.4, 1.8, label, across=chance(rng, 0.4))
        if chance(rng, 0.4):
            yield Thing(painters.pedestrian, uniform(rng, left, self.right), uniform(rng, 6, 20))


def paint_bonnet(canvas: Canvas, rng: Generator) -> None:
    """Our own car, which has no class, in half of the scenes."""
    if chance(rng, 0.5):
        colour, rise, lean = colours.lacquer(rng), uniform(rng, 0.03, 0.1), uniform(rng, -0.2, 0.2)
        outline = [(1 + lean + 1.1 * c, 1 - rise * max(s, 0.0) ** 0.5) for c, s in CIRCLE[:7]]
        points = [(x * canvas.width / 2, y * canvas.height) for x, y in outline]
        canvas.fill([*points, (0, canvas.height + 1), (canvas.width, canvas.height + 1)], colour, classes.VOID)
