"""Every PromQL expression of the dashboards and the rules, as Prometheus would be asked."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.monitoring.rules import NAMES, ROOT, groups

DASHBOARDS = sorted((ROOT / "deploy" / "monitoring" / "dashboards").glob("*.json"))

# What Grafana puts in for its variables when everything is chosen.
_VARIABLES = {"$namespace": ".*", "$service": ".*", "$build": ".*"}

_STRING = r'"[^"]*"'
_CLAUSE = r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)"
_WORDS = {"and", "or", "unless", "bool", "offset"}


@cache
def dashboard(name: str) -> dict[str, Any]:
    """A dashboard as it is committed."""
    content: dict[str, Any] = json.loads((DASHBOARDS[0].parent / f"{name}.json").read_text())
    return content


def asked(expr: str, interval: str = "5m") -> str:
    """The expression with values for Grafana's variables."""
    for variable, value in _VARIABLES.items():
        expr = expr.replace(variable, value)
    return expr.replace("$__rate_interval", interval)


def of_dashboards() -> Iterator[tuple[str, str]]:
    """Every expression of every panel, with where it is."""
    for path in DASHBOARDS:
        for panel in dashboard(path.stem)["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def of_rules() -> Iterator[tuple[str, str]]:
    """Every expression of every rule, with its name."""
    for name in NAMES:
        for group in groups(name)["groups"]:
            for rule in group["rules"]:
                yield rule.get("alert") or rule["record"], rule["expr"]


def metrics_in(expr: str) -> set[str]:
    """The metrics that an expression names."""
    plain = re.sub(_STRING, "", asked(expr))
    plain = re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", plain)
    plain = re.sub(_CLAUSE, " ", plain)
    names = re.findall(r"[a-zA-Z_:][\w:]*(?![\w:]|\s*\()", plain)
    return set(names) - _WORDS
