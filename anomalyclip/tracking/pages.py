"""Markdown for MLflow's pages: descriptions of runs, versions and registered models for other people."""

import html
import re
from collections.abc import Mapping, Sequence

from mlflow.entities import Run

from anomalyclip.evaluation.baselines import BASELINES
from anomalyclip.evaluation.declarations import Figure
from anomalyclip.evaluation.figures import headlines, summarised
from anomalyclip.evaluation.intervals import Interval
from anomalyclip.evaluation.tables import markdown
from anomalyclip.evaluation.text import value_text
from anomalyclip.methods import METHODS

WARNING = "warning"
"""Tag of a run whose model must be doubted: why."""
DESCRIPTION_LENGTH = 5000
"""Characters of a model's or a version's description that MLflow's databases keep."""
PROTOCOLS = {
    "clean": "the epoch was chosen on a part of the training videos (protocol clean)",
    "paper": "all training videos, last epoch (protocol paper)",
    "imported": "the weights were imported",
}
MODEL_DESCRIPTION = """\
Finds and names anomalies in surveillance video: a score and a probability of each class for every frame. A row of input
is a video, by `path` or by `features`; a row of output has `score`, `p_<class>` and `error`.

The version in service has the alias `champion`, the next to be judged `candidate`. The description of a version states
what it was trained on and how good it is."""


def run_note(run: Run, folder: str, standing: str | None = None) -> str:
    """Return the description of a training, an evaluation or an import, whose files are in a folder.

    `standing` is what a model is worth beside chance and the baselines, a sentence. The figures come first, for the
    page shows only a few lines until the reader asks for more.
    """
    files = f"All files: `{folder}`."
    if _shown(run):
        files = f"Plots and predictions: tab *Artifacts*, folder `evaluation`. {files}"
    return _joined(_warning(run), _figures(run), standing or "", _made_from(run), files)


def version_note(run: Run, standing: str | None) -> str:
    """Return the description of the version that a run registers: how good it is, and what it was trained on."""
    return _joined(_warning(run), standing or "", _made_from(run), _figures(run))[:DESCRIPTION_LENGTH]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its first row the heading, with space after each cell: MLflow's pages leave none."""
    return markdown([[*(f"{cell}&emsp;" for cell in row[:-1]), row[-1]] for row in rows], left=len(rows[0]))


def with_section(text: str, title: str, body: str) -> str:
    """Return a text with its section of a title replaced, or added at the end; other sections stay."""
    section = f"## {title}\n\n{body}"
    before, _, after = text.partition(f"## {title}\n")
    rest = re.search(r"^## ", after, re.MULTILINE)
    return _joined(before.strip(), section, after[rest.start() :].strip() if rest else "")[:DESCRIPTION_LENGTH]


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _plain(text: str) -> str:
    """Return a text of a user's for Markdown: names of classes and files must not become tags or links."""
    return html.escape(text, quote=False).replace("`", "'").replace("[", r"\[")


def _code(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")


def _warning(run: Run) -> str:
    warning = run.data.tags.get(WARNING)
    return f"**Warning: {_plain(warning)}.**" if warning else ""


def _made_from(run: Run) -> str:
    tags = run.data.tags
    dataset = f"**{_plain(tags.get('dataset', 'unknown videos'))}**"
    if "model" in tags:
        what = f"`{_code(tags['model'])}` evaluated on {dataset}"
    elif "source" in tags:
        what = f"Model of the checkpoint `{_code(tags['source'])}`, trained by its authors on {dataset}"
    else:
        title = METHODS[tags.get("model_kind", "anomalyclip")].title
        what = f"{title} trained on {dataset}, {tags.get('training_videos', 'unknown')} videos with video-level labels"
    facts = [what]
    if classes := tags.get("classes"):
        facts.append(f"{classes.count(',') + 1} classes: {_plain(classes)}")
    imported = tags.get("imported_features", "none")
    facts.append(f"features: {tags.get('backbone', 'none') if imported == 'none' else f'{imported} (imported)'}")
    if protocol := PROTOCOLS.get(tags.get("protocol", "")):
        facts.append(protocol)
    return "; ".join(facts) + "."


def _shown(run: Run) -> list[Figure]:
    """Return the headline figures that the run has, or those of the summary if it has none of them."""
    metrics = run.data.metrics
    headline = [figure for figure in headlines() if figure.name in metrics]
    return headline or [figure for figure in summarised() if figure.name in metrics]


def _figures(run: Run) -> str:
    figures, metrics = _shown(run), run.data.metrics
    if not figures:
        return "No test video was scored: there are no figures."
    videos = f"{run.data.tags.get('test_videos', '')} test videos".strip()
    rows = [[videos, *(figure.heading for figure in figures)]]
    beside = ((baseline.title, baseline.prefix) for baseline in BASELINES.values())
    for title, prefix in (("this model", ""), *beside):
        if any(f"{prefix}{figure.name}" in metrics for figure in figures):
            rows.append([title, *(_figure(metrics, f"{prefix}{figure.name}") for figure in figures)])
    return f"{table(rows)}\n\nIntervals are 95 % ones over videos."


def _figure(metrics: Mapping[str, float], name: str) -> str:
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return value_text(metrics.get(name), None if low is None or high is None else Interval(low, high))
