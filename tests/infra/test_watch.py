"""Alerts and dashboard: as Prometheus reads them, on metrics that Ray and MLflow were seen to export."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomalyclip.tracking.scoring_server import ANSWERS, MODEL, OPEN, SECONDS
from tests.infra.programs import INFRA, promtool

HERE = Path(__file__).parent
FOLDER = INFRA / "prometheus"
RULES = [rule for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((INFRA / "grafana" / "dashboard.json").read_text())
SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
SEEN = {line.split()[0] for line in (HERE / "metrics.txt").read_text().splitlines() if not line.startswith("#")}
CASES = yaml.safe_load((HERE / "alerts.yaml").read_text())
OF_PROMETHEUS = {"up"}
OF_OUR_SERVER = {
    family.name + ("_total" if family.type == "counter" else "")
    for metric in (ANSWERS, SECONDS, OPEN, MODEL)
    for family in metric.describe()
}


def said(*arguments: str | Path) -> str:
    """What promtool objects to, empty if nothing."""
    program = promtool()
    if program is None:
        pytest.skip("not checked: promtool is not here (Debian: prometheus)")
    done = subprocess.run([program, *map(str, arguments)], text=True, capture_output=True, timeout=60)
    return done.stdout + done.stderr if done.returncode else ""


def metrics(expression: str) -> set[str]:
    """Return the metrics of an expression; of a histogram its own name."""
    words = re.findall(r"\b(?:up|ray_\w+|mlflow_\w+|anomalyclip_\w+)\b", re.sub(r"\{.*?\}", "", expression))
    return {word.removesuffix("_bucket") for word in words}


@pytest.mark.parametrize("name", ["rules.yaml", "prometheus.yaml"])
def test_prometheus_accepts_the_files(name: str) -> None:
    assert said("check", "rules" if name == "rules.yaml" else "config", FOLDER / name) == ""


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("rules", "expr:", "expression:"),
        ("rules", "> 90", "> > 90"),
        ("rules", "for: 5m", "for: long"),
        ("rules", "$labels.ip", "$label.ip"),
        ("config", "scrape_interval", "scrape_every"),
        ("config", "rule_files: [rules.yaml]", "rule_files: rules.yaml"),
    ],
)
def test_prometheus_refuses_a_broken_copy(kind: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = (FOLDER / {"rules": "rules.yaml", "config": "prometheus.yaml"}[kind]).read_text()
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(right, wrong, 1))
    assert said("check", kind, broken)


@pytest.mark.parametrize("expression", [*SHOWN, *(rule["expr"] for rule in RULES)])
def test_every_metric_is_one_that_was_seen(expression: str) -> None:
    assert metrics(expression)
    assert metrics(expression) <= SEEN | OF_PROMETHEUS | OF_OUR_SERVER


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(SHOWN)]
    asked = tmp_path / "panels.yaml"
    asked.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert said("check", "rules", asked) == ""


def test_every_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    assert CASES.keys() == {rule["alert"] for rule in RULES}
    tests: list[dict[str, Any]] = []
    for alert, series in CASES.items():
        for given, fires in zip(series, (True, False), strict=True):
            lines = [line.strip().rsplit(" ", 1) for line in given.split(";")]
            tests.append({
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in lines],
                "promql_expr_test": [{
                    "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                    "eval_time": "90m",
                    "exp_samples": [{"labels": "{}", "value": int(fires)}],
                }],
            })  # fmt: skip
    case = tmp_path / "cases.yaml"
    case.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "rules.yaml")], "tests": tests}))
    assert said("test", "rules", case) == ""


def test_panels_have_places_and_names_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells
        taken |= cells
        assert panel["datasource"]["uid"] == "${" + DASHBOARD["templating"]["list"][0]["name"] + "}"
