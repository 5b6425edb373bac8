"""Alerts fire when they must, stay silent when they must not, and tell whom they wake what to do."""

import re
from pathlib import Path

import pytest
import yaml
from tests.monitoring.rules import CASES, NAMES, ROOT, alerts, promtool, write_rules

_NEVER = {"expr": "vector(1) > 2", "for": "0m", "annotations": {}}
_ALWAYS = {"expr": "vector(1)", "for": "0m", "annotations": {}}


def test_rules_are_rules(tmp_path: Path) -> None:
    write_rules(tmp_path)
    done = promtool("check", "rules", *(tmp_path / f"{name}.yaml" for name in NAMES))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cases", sorted(path.name for path in CASES.glob("*.yaml")))
def test_alerts_fire_and_stay_silent(cases: str, tmp_path: Path) -> None:
    write_rules(tmp_path)
    test = tmp_path / f"test-{cases}"
    test.write_text((CASES / cases).read_text())
    done = promtool("test", "rules", test)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("broken", [_NEVER, _ALWAYS], ids=["never", "always"])
@pytest.mark.parametrize("alert", alerts())
def test_an_alert_that_fires_never_or_always_would_be_noticed(
    alert: str, broken: dict[str, object], tmp_path: Path
) -> None:
    write_rules(tmp_path, **{alert: broken})
    [cases] = [path for path in CASES.glob("*.yaml") if f'"{alert}"' in path.read_text()]
    test = tmp_path / "test.yaml"
    # The cases of this alert alone, so that it is this one that is noticed.
    content = yaml.safe_load(cases.read_text())
    for case in content["tests"]:
        expressions = case["promql_expr_test"]
        case["promql_expr_test"] = [one for one in expressions if f'"{alert}"' in one["expr"]]
    content["tests"] = [case for case in content["tests"] if case["promql_expr_test"]]
    test.write_text(yaml.safe_dump(content))
    done = promtool("test", "rules", test)

    assert "FAILED" in done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_how_urgent_it_is_and_what_to_do(alert: str) -> None:
    rule = alerts()[alert]
    notes = rule["annotations"]

    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert notes.keys() == {"summary", "description", "runbook_url"}
    runbook = ROOT / notes["runbook_url"]
    assert runbook.parent == ROOT / "docs" / "runbooks"
    assert len(runbook.read_text().splitlines()) > 5


def test_every_runbook_is_somebodys_and_its_links_lead_somewhere() -> None:
    pages = set((ROOT / "docs" / "runbooks").iterdir())

    assert pages == {ROOT / rule["annotations"]["runbook_url"] for rule in alerts().values()}
    for page in pages:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"
