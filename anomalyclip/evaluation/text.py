"""Figures and differences as text and as JSON-like values."""

from math import isfinite, log10

from anomalyclip.evaluation.intervals import Difference, Interval

UNDEFINED = "undefined"


def value_text(
    value: float | None, interval: Interval | None = None, sign: str = "", digits: int = 3, fixed: bool = False
) -> str:
    """Return a figure with its interval in brackets, such as `0.909 (0.831 to 0.953)`; `sign` is "" or "+".

    `digits` are those after the point of figures below 10; larger ones, in seconds or per hour, have fewer unless the
    number is `fixed`.
    """
    if value is None:
        return UNDEFINED
    largest = max(abs(value), 1.0) if isfinite(value) and not fixed else 1.0
    kind = f"{sign}.{max(0, digits - int(log10(largest)))}f"
    return f"{value:{kind}}" + (f" ({interval.low:{kind}} to {interval.high:{kind}})" if interval else "")


def difference_text(difference: Difference | None, digits: int = 3, fixed: bool = False) -> str:
    """Return a difference with its sign and its interval in brackets, such as `+0.183 (+0.091 to +0.276)`."""
    return UNDEFINED if difference is None else value_text(difference.value, difference.interval, "+", digits, fixed)


def interval_values(interval: Interval | None) -> dict[str, float | None]:
    """Return the two ends under the names that they have in JSON."""
    return {"low": interval.low if interval else None, "high": interval.high if interval else None}


def difference_values(difference: Difference | None) -> dict[str, float | None]:
    """Return a difference, its ends and the probability that the model is better, under their names in JSON."""
    if difference is None:
        return dict.fromkeys(["difference", "low", "high", "better"])
    return {"difference": difference.value, **interval_values(difference.interval), "better": difference.better}
