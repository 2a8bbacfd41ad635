"""The world that `clip-tiny` comes from: large clean illustrations with captions of many wordings.

None of it is surveillance footage: a subject or a pair, inked or flat and well lit, often with a few things and
people round it, on plain paper or before a simple backdrop; anomalies are a few among many things.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalyclip.benchmark.drawing import poses
from anomalyclip.benchmark.drawing.canvas import Canvas, Colour, gradient, line, mix, pick, rectangle
from anomalyclip.benchmark.pictures.subjects import nature, people, things, vehicles
from anomalyclip.benchmark.pictures.subjects.sheet import BRIGHT, INK, Paint, Sheet

SIZE = 64
STREAM = 17
"""Marks the random draws of pictures: the benchmark has marks of its own."""
DRAWN = 128
"""Pictures are drawn at this size and reduced, which smooths them."""


class Picture(NamedTuple):
    """A captioned picture."""

    pixels: NDArray[np.uint8]
    """RGB, (64, 64, 3)."""
    concept: str
    """Its subject, one of `CONCEPTS`."""
    captions: tuple[str, ...]
    """Wordings of what it shows."""


class Concept(NamedTuple):
    """Drawing and names of a concept."""

    paint: Paint
    names: tuple[str, ...]


_PEOPLE: dict[str, tuple[Paint, tuple[str, ...]]] = {
    "walking": (
        people.somebody(poses.walk),
        ("a person walking", "a normal walk", "normal"),
    ),
    "standing": (people.somebody(poses.stand), ("a person standing", "a normal person", "normal")),
    "running": (people.somebody(poses.run), ("a person running", "a runner", "someone jogging")),
    "sitting": (people.somebody(poses.sit), ("a person sitting", "someone sitting down", "a normal rest")),
    "waving": (people.somebody(poses.wave), ("a person waving", "someone waves a hand")),
    "lying": (people.somebody(poses.lie), ("a person lying on the ground", "someone sleeping on the floor")),
    "crouching": (people.somebody(poses.crouch), ("a person crouching", "someone squatting")),
    "cheering": (people.somebody(poses.stretch), ("a person cheering", "someone with both arms up")),
    "pointing": (people.somebody(poses.aim), ("a person pointing", "someone pointing ahead")),
    "carrying": (people.carrying, ("a person carrying a box", "a normal delivery")),
    "talking": (
        people.pair(poses.talk, poses.stand, 0.5, 0.8),
        ("two people talking", "a normal talk", "normal"),
    ),
    "hugging": (people.pair(poses.hug, poses.hug, 0.26, 0.34), ("two people hugging", "a hug")),
    "playing": (people.playing, ("people playing with a ball", "a game", "playing")),
    "crowd": (people.crowd, ("a crowd", "many people")),
    "fighting": (people.fighting, ("fighting", "a fight", "two people fighting", "a brawl, fighting")),
    "robbery": (people.robbery, ("robbery", "a robbery", "a robber with a gun, robbery", "an armed robbery")),
    "vandalism": (people.vandalism, ("vandalism", "someone smashing a window, vandalism", "an act of vandalism")),
    "arson": (people.arson, ("arson", "someone setting a fire, arson", "an act of arson")),
    "stealing": (people.stealing, ("stealing", "a thief stealing a bag", "someone chases a thief, stealing")),
    "explosion": (people.explosion, ("explosion", "an explosion", "a bomb, explosion", "a big explosion")),
    "roadaccidents": (
        people.road_accidents,
        ("roadaccidents", "a car crash, roadaccidents", "two cars after a crash, roadaccidents"),
    ),
}
_PLAIN: dict[str, tuple[Paint, tuple[str, ...]]] = {
    "car": (vehicles.traffic("car"), ("a car", "an automobile")),
    "van": (vehicles.traffic("van"), ("a van", "a delivery van")),
    "bus": (vehicles.traffic("bus"), ("a bus", "a coach")),
    "traffic": (vehicles.traffic_jam, ("traffic", "cars on the road")),
    "bicycle": (vehicles.bicycle, ("a bicycle", "a bike")),
    "boat": (vehicles.boat, ("a boat", "a sailing boat on the water")),
    "aeroplane": (vehicles.aeroplane, ("an aeroplane", "a plane in the sky")),
    "train": (vehicles.train, ("a train", "a railway train")),
    "campfire": (nature.campfire, ("a campfire", "a cosy fire of logs")),
    "candle": (nature.candle, ("a candle", "candle light")),
    "fireworks": (nature.fireworks, ("fireworks", "fireworks at night")),
    "chimney": (nature.chimney_smoke, ("a chimney", "smoke from a chimney")),
    "dog": (nature.dog, ("a dog", "a puppy")),
    "cat": (nature.cat, ("a cat", "a kitten")),
    "horse": (nature.horse, ("a horse", "a pony")),
    "cow": (nature.cow, ("a cow", "cattle")),
    "bird": (nature.bird, ("a bird", "a small bird")),
    "fish": (nature.fish, ("a fish", "a swimming fish")),
    "tree": (nature.tree, ("a tree", "a green tree")),
    "flower": (nature.flower, ("a flower", "a blossom")),
    "sun": (nature.sun, ("the sun", "sunshine")),
    "rain": (nature.rain, ("rain", "a rainy cloud")),
    "mountain": (nature.mountain, ("a mountain", "a snowy peak")),
    "house": (things.house, ("a house", "a home")),
    "tower": (things.tower, ("a tower", "a tall building")),
    "chair": (things.chair, ("a chair", "a seat")),
    "bench": (things.bench, ("a bench", "a park bench")),
    "table": (things.table, ("a table", "a desk")),
    "bed": (things.bed, ("a bed", "a bed with a pillow")),
    "lamp": (things.lamp, ("a lamp", "a lit lamp")),
    "clock": (things.clock, ("a clock", "a watch")),
    "ball": (things.ball, ("a ball", "a toy ball")),
    "umbrella": (things.umbrella, ("an umbrella", "a parasol")),
    "cup": (things.cup, ("a cup", "a mug")),
    "apple": (things.apple, ("an apple", "a fruit")),
    "book": (things.book, ("a book", "an open book")),
    "bag": (things.bag, ("a bag", "a handbag")),
    "bottle": (things.bottle, ("a bottle", "a drink")),
    "hammer": (things.hammer, ("a hammer", "a tool")),
    "pistol": (things.pistol, ("a pistol", "a gun")),
    "ladder": (things.ladder, ("a ladder", "steps")),
    "window": (things.window, ("a window", "a window pane")),
    "room": (things.room, ("a room", "a living room")),
    "shelves": (things.shelves, ("shelves", "shelves of a shop")),
    "street": (things.street, ("a street", "houses along a street")),
}
SUBJECTS = {name: Concept(*entry) for name, entry in (_PEOPLE | _PLAIN).items()}
CONCEPTS: tuple[str, ...] = tuple(SUBJECTS)

PEOPLE_SHARE = 0.5
"""Share of the pictures that show people."""

_THINGS = (
    nature.tree, things.house, things.bench, things.lamp, nature.flower, things.tower, things.shelves,
    things.window, vehicles.traffic("car"),
)  # fmt: skip
_BYSTANDERS = tuple(people.somebody(pose) for pose in (poses.walk, poses.stand, poses.talk, poses.sit))
_OPENINGS = (
    "{}", "{}", "a picture of {}", "a drawing of {}", "an illustration of {}", "this is {}", "we see {}",
    "a video of {}", "a photo of {}", "in this picture there is {}", "a camera shows {}", "a video from a camera of {}",
)  # fmt: skip
_STYLES = ("", "", "", "bold and simple", "clip art", "cartoon", "flat colours", "inked")
_BACKDROPS = {
    "paper": ("on paper", "on plain ground", "in front of nothing"),
    "sky": ("outdoors", "on the grass under the sky", "in a field"),
    "wall": ("indoors", "in a room", "before a wall"),
    "stripes": ("on stripes", "before a striped curtain"),
    "dusk": ("in the evening", "at dusk", "under a dark sky"),
}


def draw_picture(seed: int, index: int) -> Picture:
    """Draw a picture; the same seed and index give the same picture."""
    generator = np.random.default_rng([seed, STREAM, index])
    group = _PEOPLE if generator.uniform() < PEOPLE_SHARE else _PLAIN
    name = tuple(group)[int(generator.integers(len(group)))]
    canvas = np.zeros((DRAWN, DRAWN, 3), np.uint8)
    backdrop = tuple(_BACKDROPS)[int(generator.integers(len(_BACKDROPS)))]
    _draw_backdrop(canvas, generator, backdrop)
    sheet = Sheet(canvas, generator, INK if generator.uniform() < 0.6 else None)
    size = DRAWN * float(generator.uniform(0.34, 0.8))
    _draw_scenery(sheet, size)
    x, y = DRAWN * generator.uniform((0.34, 0.78), (0.66, 0.97))
    SUBJECTS[name].paint(sheet, float(x), float(y), size)
    pixels = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return Picture(np.asarray(pixels, np.uint8), name, _captions(generator, SUBJECTS[name].names, backdrop))


def _draw_scenery(sheet: Sheet, size: float) -> None:
    """Other things and people round the subject, in some pictures."""
    for kinds, share in ((_THINGS, 0.35), (_THINGS, 0.2), (_BYSTANDERS, 0.35), (_BYSTANDERS, 0.2)):
        if sheet.uniform(0, 1) < share:
            paint = kinds[sheet.generator.integers(len(kinds))]
            x, y = DRAWN * sheet.generator.uniform((0.02, 0.7), (0.98, 0.9))
            paint(sheet, float(x), float(y), size * sheet.uniform(0.5, 0.9))


def _captions(generator: np.random.Generator, names: tuple[str, ...], backdrop: str, count: int = 3) -> tuple[str, ...]:
    captions = []
    for _ in range(count):
        text = _OPENINGS[generator.integers(len(_OPENINGS))].format(names[generator.integers(len(names))])
        if generator.uniform() < 0.3:
            text = f"{text} {_BACKDROPS[backdrop][generator.integers(len(_BACKDROPS[backdrop]))]}"
        style = _STYLES[generator.integers(len(_STYLES))]
        captions.append(f"{text}, {style}" if style else text)
    return tuple(captions)


def _draw_backdrop(canvas: Canvas, generator: np.random.Generator, kind: str) -> None:
    light: Colour = mix(pick(generator, BRIGHT), (255, 252, 246), float(generator.uniform(0.55, 0.9)))
    other: Colour = mix(pick(generator, BRIGHT), (255, 252, 246), float(generator.uniform(0.3, 0.7)))
    horizon = DRAWN * float(generator.uniform(0.55, 0.8))
    rectangle(canvas, (0, 0), (DRAWN, DRAWN), light)
    if kind == "sky":
        gradient(canvas, 0, horizon, (120, 190, 250), (224, 242, 255))
        rectangle(canvas, (0, horizon), (DRAWN, DRAWN), mix((130, 200, 110), light, 0.2))
    elif kind == "wall":
        rectangle(canvas, (0, horizon), (DRAWN, DRAWN), other)
    elif kind == "stripes":
        step = float(generator.uniform(10, 26))
        for x in np.arange(0, DRAWN, 2 * step):
            rectangle(canvas, (x, 0), (x + step, DRAWN), other)
    elif kind == "dusk":
        gradient(canvas, 0, DRAWN, (70, 60, 120), (240, 150, 110))
        line(canvas, [(0, horizon), (DRAWN, horizon)], (60, 50, 80), 2)
