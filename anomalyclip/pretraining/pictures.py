"""The world that `clip-tiny` comes from: large clean illustrations with captions of many wordings.

None of it is surveillance footage: one subject or a pair fills the picture, inked or flat, on plain paper or
before a simple backdrop, well lit, and anomalies are a few among many things.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalyclip.drawing import poses
from anomalyclip.drawing.canvas import Canvas, Colour, gradient, line, mix, pick, rectangle
from anomalyclip.pretraining import subjects
from anomalyclip.pretraining.subjects import BRIGHT, INK, Paint, Sheet

SIZE = 64
DRAWN = 128
"""Pictures are drawn at this size and reduced, which smooths them."""


class Picture(NamedTuple):
    """A captioned picture."""

    pixels: NDArray[np.uint8]
    """RGB, (64, 64, 3)."""
    concept: str
    """What it shows, one of `CONCEPTS`."""
    captions: tuple[str, ...]
    """Wordings of what it shows."""


class Concept(NamedTuple):
    """How something is drawn and called."""

    paint: Paint
    names: tuple[str, ...]


PEOPLE_SCENES = {
    "walking": Concept(subjects.somebody(poses.walk), ("a person walking", "someone going for a walk", "a normal walk", "normal")),
    "standing": Concept(subjects.somebody(poses.stand), ("a person standing", "someone who waits", "a normal person", "normal")),
    "running": Concept(subjects.somebody(poses.run), ("a person running", "a runner", "someone jogging")),
    "sitting": Concept(subjects.somebody(poses.sit), ("a person sitting", "someone sitting down")),
    "waving": Concept(subjects.somebody(poses.wave), ("a person waving", "someone waves a hand")),
    "lying": Concept(subjects.somebody(poses.lie), ("a person lying on the ground", "someone sleeping on the floor")),
    "crouching": Concept(subjects.somebody(poses.crouch), ("a person crouching", "someone squatting")),
    "cheering": Concept(subjects.somebody(poses.stretch), ("a person cheering", "someone with both arms up")),
    "pointing": Concept(subjects.somebody(poses.aim), ("a person pointing", "someone pointing ahead")),
    "carrying": Concept(subjects.carrying, ("a person carrying a box", "a delivery", "a normal delivery")),
    "talking": Concept(subjects.pair(poses.talk, poses.stand, 0.5, 0.8), ("two people talking", "a conversation", "a normal talk", "normal")),
    "hugging": Concept(subjects.pair(poses.hug, poses.hug, 0.26, 0.34), ("two people hugging", "a hug")),
    "playing": Concept(subjects.playing, ("people playing with a ball", "a game", "playing")),
    "crowd": Concept(subjects.crowd, ("a crowd", "many people", "a normal crowd", "normal")),
    "fighting": Concept(subjects.fighting, ("fighting", "a fight", "two people fighting", "a brawl, fighting")),
    "robbery": Concept(subjects.robbery, ("robbery", "a robbery", "a robber with a gun, robbery", "an armed robbery")),
    "vandalism": Concept(subjects.vandalism, ("vandalism", "someone smashing a window, vandalism", "an act of vandalism")),
    "arson": Concept(subjects.arson, ("arson", "someone setting a fire, arson", "an act of arson")),
    "stealing": Concept(subjects.stealing, ("stealing", "a thief stealing a bag", "someone chases a thief, stealing")),
    "explosion": Concept(subjects.explosion, ("explosion", "an explosion", "a bomb, explosion", "a big explosion")),
    "roadaccidents": Concept(subjects.road_accidents, ("roadaccidents", "a car crash, roadaccidents", "two cars after a crash, roadaccidents")),
}  # fmt: skip
_PLAIN: dict[str, tuple[Paint, tuple[str, ...]]] = {
    "car": (subjects.traffic("car"), ("a car", "an automobile")),
    "van": (subjects.traffic("van"), ("a van", "a delivery van")),
    "bus": (subjects.traffic("bus"), ("a bus", "a coach")),
    "traffic": (subjects.traffic_jam, ("traffic", "cars on the road", "normal traffic", "normal")),
    "bicycle": (subjects.bicycle, ("a bicycle", "a bike")),
    "boat": (subjects.boat, ("a boat", "a sailing boat on the water")),
    "aeroplane": (subjects.aeroplane, ("an aeroplane", "a plane in the sky")),
    "train": (subjects.train, ("a train", "a railway train")),
    "campfire": (subjects.campfire, ("a campfire", "a cosy fire of logs")),
    "candle": (subjects.candle, ("a candle", "candle light")),
    "fireworks": (subjects.fireworks, ("fireworks", "fireworks at night")),
    "chimney": (subjects.chimney_smoke, ("a chimney", "smoke from a chimney")),
    "dog": (subjects.dog, ("a dog", "a puppy")),
    "cat": (subjects.cat, ("a cat", "a kitten")),
    "horse": (subjects.horse, ("a horse", "a pony")),
    "cow": (subjects.cow, ("a cow", "cattle")),
    "bird": (subjects.bird, ("a bird", "a small bird")),
    "fish": (subjects.fish, ("a fish", "a swimming fish")),
    "tree": (subjects.tree, ("a tree", "a green tree")),
    "flower": (subjects.flower, ("a flower", "a blossom")),
    "sun": (subjects.sun, ("the sun", "sunshine")),
    "rain": (subjects.rain, ("rain", "a rainy cloud")),
    "mountain": (subjects.mountain, ("a mountain", "a snowy peak")),
    "house": (subjects.house, ("a house", "a home")),
    "tower": (subjects.tower, ("a tower", "a tall building")),
    "chair": (subjects.chair, ("a chair", "a seat")),
    "bench": (subjects.bench, ("a bench", "a park bench")),
    "table": (subjects.table, ("a table", "a desk")),
    "bed": (subjects.bed, ("a bed", "a bed with a pillow")),
    "lamp": (subjects.lamp, ("a lamp", "a lit lamp")),
    "clock": (subjects.clock, ("a clock", "a watch")),
    "ball": (subjects.ball, ("a ball", "a toy ball")),
    "umbrella": (subjects.umbrella, ("an umbrella", "a parasol")),
    "cup": (subjects.cup, ("a cup", "a mug")),
    "apple": (subjects.apple, ("an apple", "a fruit")),
    "book": (subjects.book, ("a book", "an open book")),
    "bag": (subjects.bag, ("a bag", "a handbag")),
    "bottle": (subjects.bottle, ("a bottle", "a drink")),
    "hammer": (subjects.hammer, ("a hammer", "a tool")),
    "pistol": (subjects.pistol, ("a pistol", "a gun")),
    "ladder": (subjects.ladder, ("a ladder", "steps")),
    "window": (subjects.window, ("a window", "a window pane")),
    "room": (subjects.room, ("a room", "a living room", "a normal room", "normal")),
    "shelves": (subjects.shelves, ("shelves", "shelves of a shop", "a normal shop", "normal")),
    "street": (subjects.street, ("a street", "houses along a street", "a normal street", "normal")),
}
SUBJECTS: dict[str, Concept] = PEOPLE_SCENES | {name: Concept(*entry) for name, entry in _PLAIN.items()}
CONCEPTS: tuple[str, ...] = tuple(SUBJECTS)

PEOPLE_SHARE = 0.5
"""Share of the pictures that show people."""

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
    """Draw a picture; the same seed and index are the same picture."""
    generator = np.random.default_rng([seed, 17, index])
    group = PEOPLE_SCENES if generator.uniform() < PEOPLE_SHARE else _PLAIN
    name = tuple(group)[int(generator.integers(len(group)))]
    canvas = np.zeros((DRAWN, DRAWN, 3), np.uint8)
    backdrop = tuple(_BACKDROPS)[int(generator.integers(len(_BACKDROPS)))]
    _draw_backdrop(canvas, generator, backdrop)
    sheet = Sheet(canvas, generator, INK if generator.uniform() < 0.6 else None)
    size = DRAWN * float(generator.uniform(0.42, 0.8))
    if generator.uniform() < 0.35:
        extra = (subjects.tree, subjects.house, subjects.bench, subjects.lamp, subjects.flower)[generator.integers(5)]
        extra(sheet, DRAWN * float(generator.choice((0.12, 0.88))), 0.86 * DRAWN, 0.5 * size)
    x = DRAWN * float(generator.uniform(0.36, 0.64))
    SUBJECTS[name].paint(sheet, x, DRAWN * float(generator.uniform(0.84, 0.96)), size)
    pixels = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return Picture(np.asarray(pixels, np.uint8), name, _captions(generator, SUBJECTS[name].names, backdrop))


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
