"""Makes what Grafana reads of `panels/*.yaml`, which have what is on the dashboards and nothing else.

Of a panel, in the YAML:
    title, description   what is seen, and what it means for somebody who sees it the first time
    queries              PromQL `expr`, with the `legend` of its series
    kind, unit           Grafana's names of the panel's type and of the unit
    thresholds           from which values on it is yellow, then red; red below yellow if low is bad
    runbook              the page of docs/runbooks to read when it is red
    width, height        in 24ths of the screen, in Grafana's rows

BUILD_SERVICES in an `expr` stands for the services that builds call: generator|quality and so on.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from faceloom.builds.stages import STAGES, services_of

PANELS = Path(__file__).parent / "panels"

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_RED, _YELLOW, _GREEN = "red", "yellow", "green"


class Query(BaseModel):
    """One query of a panel."""

    model_config = ConfigDict(extra="forbid")

    expr: str
    legend: str = ""


class Panel(BaseModel):
    """One panel, as it is in the YAML."""

    model_config = ConfigDict(extra="forbid")

    title: str
    description: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    thresholds: tuple[float, float] | None = None
    runbook: str = ""
    width: int = 8
    height: int = 8

    def to_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """The panel at a place of the grid."""
        now = self.kind not in ("timeseries", "heatmap", "state-timeline")
        targets = [
            {
                "refId": chr(ord("A") + at),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": now,
                "range": not now,
                "format": {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series"),
            }
            for at, query in enumerate(self.queries)
        ]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "thresholds": {"mode": "absolute", "steps": self._steps()},
                    "color": {"mode": "thresholds" if now else "palette-classic"},
                    "custom": {"thresholdsStyle": {"mode": "dashed" if self.thresholds else "off"}},
                },
                "overrides": [],
            },
            "options": _OPTIONS.get(self.kind, {}),
            "links": [{"title": "Runbook", "url": "${runbooks}/" + self.runbook}]
            if self.runbook
            else [],
            "transformations": self._transformations(),
            "targets": targets,
        }

    def _transformations(self) -> list[dict[str, Any]]:
        """One table of all queries, without what says nothing: when it was asked, and the 1 of infos."""
        if self.kind != "table":
            return []
        hidden = {"Time": True} | ({"Value": True} if self.unit == "short" else {})
        return [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": hidden}},
        ]

    def _steps(self) -> list[dict[str, Any]]:
        if self.thresholds is None:
            return [{"color": _GREEN, "value": None}]
        yellow, red = self.thresholds
        ordered = [(_GREEN, None), (_YELLOW, yellow), (_RED, red)]
        if red < yellow:
            ordered = [(_RED, None), (_YELLOW, red), (_GREEN, yellow)]
        return [{"color": color, "value": value} for color, value in ordered]


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "values": False},
        "textMode": "auto",
        "colorMode": "background",
        "graphMode": "none",
    },
    "bargauge": {
        "reduceOptions": {"calcs": ["lastNotNull"], "values": False},
        "orientation": "horizontal",
        "displayMode": "basic",
    },
    "heatmap": {"calculate": False, "yAxis": {"unit": "short"}, "color": {"scheme": "Blues"}},
    "table": {"showHeader": True},
}


class Variable(BaseModel):
    """What a person chooses at the top: values of a label, taken from a metric that has it."""

    model_config = ConfigDict(extra="forbid")

    label: str
    metric: str


class Dashboard(BaseModel):
    """One dashboard, as it is in the YAML; panels go from left to right, then to the next row."""

    model_config = ConfigDict(extra="forbid")

    title: str
    description: str
    panels: Sequence[Panel]
    variables: Mapping[str, Variable] = {}

    def to_json(self, name: str) -> str:
        """The file. `faceloom-<name>` is its uid, for ever."""
        content = {
            "uid": f"faceloom-{name}",
            "title": f"Faceloom / {self.title}",
            "description": self.description,
            "tags": ["faceloom"],
            "schemaVersion": 39,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "links": [
                {
                    "type": "dashboards",
                    "title": "Faceloom",
                    "tags": ["faceloom"],
                    "asDropdown": True,
                    "includeVars": True,
                    "keepTime": True,
                }
            ],
            "templating": {"list": self._variables()},
            "panels": self._placed(),
        }
        return json.dumps(content, indent=1) + "\n"

    def _variables(self) -> list[dict[str, Any]]:
        own = [
            _choice(name, variable, 'namespace=~"$namespace"')
            for name, variable in self.variables.items()
        ]
        namespaces = Variable(label="namespace", metric="up")
        return [
            {
                "name": "datasource",
                "label": "Prometheus",
                "type": "datasource",
                "query": "prometheus",
            },
            _choice("namespace", namespaces, 'job=~"(.*/)?faceloom"'),
            *own,
            {
                "name": "runbooks",
                "label": "Runbooks at",
                "type": "textbox",
                "query": "docs/runbooks",
            },
        ]

    def _placed(self) -> list[dict[str, Any]]:
        placed: list[dict[str, Any]] = []
        x = y = height = 0
        for number, panel in enumerate(self.panels, 1):
            if x + panel.width > _WIDTH:
                x, y, height = 0, y + height, 0
            placed.append(panel.to_json(number, x, y))
            x, height = x + panel.width, max(height, panel.height)
        return placed


def _choice(name: str, variable: Variable, matching: str) -> dict[str, Any]:
    query = f"label_values({variable.metric}{{{matching}}}, {variable.label})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboards() -> dict[str, str]:
    """Every dashboard as Grafana reads it, by name."""
    called = "|".join(services_of(STAGES))
    return {
        path.stem: Dashboard(
            **yaml.safe_load(path.read_text().replace("BUILD_SERVICES", called))
        ).to_json(path.stem)
        for path in sorted(PANELS.glob("*.yaml"))
    }
