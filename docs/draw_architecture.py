"""Draw the packages in their layers and who imports whom, from the code: `python docs/draw_architecture.py`.

Rows are the layers of the contract in `pyproject.toml`, arrows the imports that grimp finds. An import that a longer
way implies (transitive reduction) is left out, so that 36 arrows stand for a hundred.
"""

import sys
import tomllib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import grimp
import matplotlib as mpl
import networkx as nx

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "architecture.png"
TEXT = PICTURE.with_suffix(".txt")
"""The picture's content as text: it shows a change in review, and a test compares it with the code."""
LIBRARIES = {"ray": ("Ray", "#d97706"), "mlflow": ("MLflow", "#2563eb")}
WIDTH, HEIGHT, GAP, BEND = 1.9, 0.5, 0.4, 0.25
"""Of a box and between boxes, and the width kept free for an arrow that passes a row, in inches."""
ROW = 1.1

Layers = list[list[str]]
Place = tuple[float, float]


def layers() -> Layers:
    """Return the packages of each layer, from the top, as the import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip(" ()") for name in row.replace(":", "|").split("|")] for row in rows]


def imports(rows: Layers) -> tuple[nx.DiGraph, dict[str, list[str]]]:
    """Return who imports whom, without what a longer way implies, and the packages that import each library."""
    modules = grimp.build_graph(
        "anomalyclip", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    level = {name: number for number, row in enumerate(rows) for name in row}
    graph: nx.DiGraph = nx.DiGraph()
    users: dict[str, set[str]] = {name: set() for name in LIBRARIES}
    for module in modules.modules:
        for other in modules.find_modules_directly_imported_by(module):
            first, second = _package(module), _package(other)
            if other in users:
                users[other].add(first)
            elif first in level and second in level and level[first] < level[second]:
                graph.add_edge(first, second)
    return nx.transitive_reduction(graph), {name: sorted(found) for name, found in users.items()}


def text(rows: Layers, graph: nx.DiGraph, users: Mapping[str, Sequence[str]]) -> str:
    """Return the picture's content, a line per package from the top, and a line per library."""
    lines = [f"{name}: {', '.join(sorted(graph.successors(name))) or 'nothing'}" for row in rows for name in row]
    return "\n".join([*lines, *(f"imported by {LIBRARIES[name][0]}'s adapters: {', '.join(found)}"
                                for name, found in users.items())]) + "\n"  # fmt: skip


def places(rows: Layers, graph: nx.DiGraph) -> dict[Any, Place]:
    """Return the centre of every box, and of every bend `(first, second, row)` of an arrow that passes a row."""
    level = {name: number for number, row in enumerate(rows) for name in row}
    chains = [
        [first, *((first, second, row) for row in range(level[first] + 1, level[second])), second]
        for first, second in sorted(graph.edges)
    ]
    nodes: list[list[Any]] = [list(row) for row in rows]
    near: dict[Any, list[Any]] = {name: [] for row in rows for name in row}
    for chain in chains:
        for node in chain[1:-1]:
            nodes[node[2]].append(node)
        for one, other in pairwise(chain):
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
    x = {node: float(number) for row in nodes for number, node in enumerate(row)}
    for sweep in range(100):  # each node to the middle of its neighbours, row after row, upwards and downwards in turn
        for row in nodes if sweep % 2 else reversed(nodes):
            wish = {node: sum(x[other] for other in near[node]) / max(1, len(near[node])) for node in row}
            row.sort(key=lambda node: wish[node])
            x.update(zip(row, _apart(row, [wish[node] for node in row]), strict=True))
    return {node: (x[node], -ROW * number) for number, row in enumerate(nodes) for node in row}


def draw(rows: Layers, graph: nx.DiGraph, users: Mapping[str, Sequence[str]]) -> None:
    """Write the picture."""
    place = places(rows, graph)
    left = min(x for x, _ in place.values()) - WIDTH
    right, low = max(x for x, _ in place.values()) + WIDTH, -ROW * (len(rows) - 0.3)
    figure, axes = plt.subplots(figsize=(right - left, 0.7 * ROW - low))
    axes.set(xlim=(left, right), ylim=(low, 0.4 * ROW), aspect="equal")
    axes.axis("off")
    for number in range(0, len(rows), 2):
        axes.axhspan(-ROW * (number - 0.5), -ROW * (number + 0.5), color="#f5f5f4", zorder=0)
    for first, second in sorted(graph.edges):
        bends = sorted((node for node in place if node[:2] == (first, second)), key=lambda node: node[2])
        _arrow(axes, [place[first], *(place[node] for node in bends), place[second]])
    for row in rows:
        for name in row:
            marks = [LIBRARIES[library] for library, found in users.items() if name in found]
            _box(axes, name, place[name], marks)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=90, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})


def _package(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def _apart(row: Sequence[Any], wishes: Sequence[float]) -> list[float]:
    """Return places near the wishes, in their order, at which nothing overlaps: boxes are wide, bends narrow."""
    half = [(WIDTH + GAP if isinstance(node, str) else BEND) / 2 for node in row]
    found = [wishes[0]]
    for number in range(1, len(row)):
        found.append(max(wishes[number], found[-1] + half[number - 1] + half[number]))
    shift = sum(wish - place for wish, place in zip(wishes, found, strict=True)) / len(row)
    return [place + shift for place in found]


def _arrow(axes: Any, points: Sequence[Place]) -> None:
    """Draw an arrow that is upright at the height of boxes, and bends between the rows only."""
    line, codes = [points[0]], [Curve.MOVETO]
    for (x, y), (next_x, next_y) in pairwise(points):
        leaves, arrives = y - HEIGHT / 2, next_y + HEIGHT / 2
        middle = (leaves + arrives) / 2
        line += [(x, leaves), (x, middle), (next_x, middle), (next_x, arrives)]
        codes += [Curve.LINETO, *[Curve.CURVE4] * 3]
    axes.add_patch(FancyArrowPatch(path=Curve(line, codes), arrowstyle="-|>", mutation_scale=12, color="#57534e"))


def _box(axes: Any, name: str, place: Place, marks: Sequence[tuple[str, str]]) -> None:
    x, y = place
    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, "round,pad=0,rounding_size=0.08", facecolor="white",
                                  edgecolor="#292524", zorder=2))  # fmt: skip
    axes.text(x, y + 0.09 * bool(marks), name, ha="center", va="center", fontsize=12, weight="bold", zorder=3)
    for number, (label, colour) in enumerate(marks):
        axes.text(x + 0.7 * (number - (len(marks) - 1) / 2), y - 0.14, label, ha="center", va="center", fontsize=8,
                  color=colour, zorder=3)  # fmt: skip


def main() -> None:
    """Write the picture and its text."""
    rows = layers()
    graph, users = imports(rows)
    draw(rows, graph, users)
    TEXT.write_text(text(rows, graph, users))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the packages of this checkout
    main()
