"""The rules of deploy/monitoring as promtool wants them: without Kubernetes around."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "monitoring" / "rules"
CASES = Path(__file__).parent / "alerts"
NAMES = sorted(path.stem for path in RULES.glob("*.yaml"))

Object = dict[str, Any]


def groups(name: str) -> Object:
    """The groups of a PrometheusRule."""
    rule: Object = yaml.safe_load((RULES / f"{name}.yaml").read_text())
    assert rule["kind"] == "PrometheusRule"
    return dict(rule["spec"])


def alerts() -> dict[str, Object]:
    """Every alert by its name."""
    return {
        rule["alert"]: rule
        for name in NAMES
        for group in groups(name)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def write_rules(folder: Path, **changes: Object) -> None:
    """Writes all rule files; a change replaces what an alert says."""
    for name in NAMES:
        content = groups(name)
        for group in content["groups"]:
            for rule in group["rules"]:
                rule |= changes.get(rule.get("alert", ""), {})
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs promtool, of Debian's package prometheus."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    command = [found, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
