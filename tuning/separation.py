"""Separation of a search's best trial from the others on validation: paired intervals of video-level AUC."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from anomalyclip.evaluation.intervals import FEWEST_VIDEOS, Difference, Replicates, auc_replicates, difference
from anomalyclip.evaluation.text import difference_text, difference_values

DIGITS = 4
"""Of validation AUC and its differences in the report."""


@dataclass(frozen=True)
class Compared:
    """The best trial's video-level AUC minus that of another."""

    key: str
    """Of the other trial."""
    auc: Difference

    @property
    def separated(self) -> bool | None:
        """Whether the interval lies above 0; None without an interval."""
        return self.auc.interval.low > 0 if self.auc.interval else None

    def values(self) -> dict[str, Any]:
        """Return it as JSON-like values."""
        return {"trial": self.key, **difference_values(self.auc), "separated": self.separated}


@dataclass(frozen=True)
class Separation:
    """The best trial of a search compared with each other finished trial, on the same validation videos."""

    videos: int
    abnormal: int
    """Number of videos with an anomaly."""
    best: str
    """Key of the best trial."""
    others: Mapping[str, Compared]
    """The other finished trials, by key."""
    following: str | None
    """Key of the next best trial; None if no other is finished."""
    default: str | None
    """Key of the trial of the default configuration; None if no finished trial has it."""

    @property
    def named(self) -> dict[str, Compared | None]:
        """The two comparisons that matter most: with the `next` trial and with the `default` configuration."""
        return {"next": self.others.get(self.following or ""), "default": self.others.get(self.default or "")}

    def separated(self) -> int:
        """Return from how many other trials the best is separated."""
        return sum(bool(each.separated) for each in self.others.values())

    def values(self) -> dict[str, Any]:
        """Return it as JSON-like values."""
        compared = {name: each and each.values() for name, each in self.named.items()}
        return {
            "videos": self.videos, "abnormal_videos": self.abnormal, "others": len(self.others),
            "separated": self.separated(), "best_is_default": self.best == self.default, **compared,
        }  # fmt: skip

    def metrics(self) -> dict[str, float]:
        """Return the defined figures under their names in a tracking server, such as `best_minus_next_low`."""
        flat: dict[str, float] = {}
        for name, each in self.named.items():
            if each is not None:
                flat[f"best_minus_{name}"] = each.auc.value
                if each.auc.interval is not None:
                    flat[f"best_minus_{name}_low"] = each.auc.interval.low
                    flat[f"best_minus_{name}_high"] = each.auc.interval.high
        return flat

    def tags(self) -> dict[str, str]:
        """Return `separated_from_next` and `separated_from_default`: yes, no, or unknown."""
        known = {True: "yes", False: "no", None: "unknown"}
        return {f"separated_from_{name}": known[each.separated] for name, each in self.named.items() if each}

    def sentences(self, names: Mapping[str, str]) -> list[str]:
        """Return what the report states, trials by the names given for their keys."""
        lines = [
            f"Validation has {self.videos} videos, {self.abnormal} of them with an anomaly. Differences are the best "
            "trial's video-level AUC minus that of another trial, with 95 % intervals over videos (jackknife, paired "
            "by video); they flatter the best trial, which was chosen by this figure."
        ]
        if not self.others:
            return [*lines, "No other trial is finished: there is nothing to compare with."]
        following, default = self.named["next"], self.named["default"]
        if following:
            lines.append(f"The next trial, {names[following.key]}: {_verdict(following)}.")
        if default:
            lines.append(f"The default configuration, {names[default.key]}: {_verdict(default)}.")
        elif self.best == self.default:
            lines.append("The best trial is the default configuration.")
        else:
            lines.append("The default configuration is not among the finished trials.")
        if all(each.separated is None for each in self.others.values()):
            lines.append(
                "Validation cannot separate the trials: intervals need at least "
                f"{FEWEST_VIDEOS} videos, at least 2 of them with and 2 without an anomaly."
            )
        else:
            count = f"{self.separated()} of {len(self.others)}"
            lines.append(f"Validation separates the best trial from {count} other finished trials.")
        return lines


def separate(scores: Mapping[str, pl.DataFrame], best: str, following: str | None, default: str | None) -> Separation:
    """Compare the best trial with every other.

    `scores` holds, by key, the table of a trial's validation videos: `video_id`, `abnormal` and `score`, all of the
    same videos in the same order.
    """
    replicates = {key: _replicates(table) for key, table in scores.items()}
    others = {
        key: Compared(key, found)
        for key, each in replicates.items()
        if key != best and (found := difference(replicates[best], each)) is not None
    }
    abnormal = scores[best]["abnormal"]
    return Separation(len(abnormal), int(abnormal.sum()), best, others, following, default)


def _replicates(table: pl.DataFrame) -> Replicates | None:
    """Return the AUC over videos, with its values without each video: a video is one frame of the frame-level AUC."""
    offsets = np.arange(table.height + 1)
    return auc_replicates(table["score"].to_numpy(), table["abnormal"].to_numpy(), offsets)


def _verdict(compared: Compared) -> str:
    verdict = {True: "separated", False: "not separated", None: "no interval"}[compared.separated]
    return f"{difference_text(compared.auc, DIGITS)}, {verdict}"
