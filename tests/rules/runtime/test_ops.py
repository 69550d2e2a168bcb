"""The alert rules and the dashboard: they name only metrics and labels that exist, and each alert has its page."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.limits.hold import Reason
from app.operations.health import NO_DISPATCHER
from app.rules.observation import Disposition
from app.rules.status import TaskStatus
from app.runtime.metrics import registry
from app.tempolor.codes import SUCCESS

ROOT = Path(__file__).parents[3]
RULES = ROOT / "ops" / "alerts.yml"
DASHBOARD = ROOT / "ops" / "grafana-dashboard.json"
PAGE = ROOT / "docs" / "alerts.md"
TARGET_LABELS = {"instance", "job", "le"}
DOCS = "https://docs.company.example/tempolor-gateway"
PROMTOOL = shutil.which("promtool")


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return group["rules"]


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [rule["expr"] for rule in rules()] + [one["expr"] for panel in panels for one in panel["targets"]]


def series() -> dict[str, set[str]]:
    """The name of each series that can be there, with its labels."""
    found = {}
    for metric, names in registry._collector_to_names.items():
        for name in names:
            # A collector of the library has none, and its own series are those of one process.
            found[name] = set(getattr(metric, "_labelnames", ()))
    found["gateway_build_info"] = {"version", "python"}
    return found


def test_every_expression_names_only_what_exists() -> None:
    known = series()
    for expression in expressions():
        used = re.findall(r"\b(gateway_\w+)(?:\{([^}]*)\})?", expression)
        assert used, expression
        assert {name for name, _ in used} <= known.keys(), expression
        labels = set().union(*(known[name] for name, _ in used)) | TARGET_LABELS
        for name, matchers in used:
            assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers)) <= known[name] | TARGET_LABELS, expression
        for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
            assert {one.strip() for one in grouped.split(",")} <= labels, expression


def test_the_values_in_the_expressions_exist() -> None:
    """A label's name alone is not enough: an alert on a reason that is never told never fires."""
    told = {
        "disposition": {*Disposition, "forbidden"},
        "reason": {*Reason, "clock_skew", NO_DISPATCHER, "idle"},
        "status": {*TaskStatus, "5.."},
        "what": {"workers", "queries", "submissions", "timers", "notifications"},
        "code": {str(SUCCESS)},
        "route": {"/readyz", "/backlog"},
        "outcome": {"accepted", "store_failed"},
    }
    for name, text in re.findall(r'(\w+)(?:=~|!=|=)"([^"]*)"', " ".join(expressions())):
        assert set(text.split("|")) <= told[name], name


def test_each_alert_has_a_severity_a_summary_and_its_page() -> None:
    headings = re.findall(r"^## (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert len(rules()) == len({rule["alert"] for rule in rules()}) >= 15
    assert [rule["alert"] for rule in rules()] == headings
    for rule in rules():
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"{DOCS}/alerts.md#{rule['alert'].lower()}"


def test_each_page_says_what_to_look_at_and_what_to_do() -> None:
    for section in PAGE.read_text().split("\n## ")[1:]:
        assert "**Look at:**" in section
        assert "**Do:**" in section
        assert set(re.findall(r"\bgateway_\w+", section)) <= series().keys()


def test_the_dashboard_is_one() -> None:
    loaded = json.loads(DASHBOARD.read_text())
    assert loaded["uid"] == "tempolor-gateway"
    assert len({panel["id"] for panel in loaded["panels"]}) == len(loaded["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in loaded["panels"]]
    assert len(set(places)) == len(places)
    assert all(target["datasource"]["uid"] == "${datasource}" for target in loaded["panels"])


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not there (Debian: prometheus)")
def test_prometheus_takes_the_rules_and_they_fire_as_they_should() -> None:
    for arguments in (("check", "rules", str(RULES)), ("test", "rules", str(ROOT / "ops" / "alerts-test.yml"))):
        ended = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
