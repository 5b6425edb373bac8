"""`python -m tests.monitoring.pictures`: the dashboards over a real stack, as pictures for the documentation.

For some minutes a real Prometheus reads a stack on which something happens. Then every panel's queries are
asked as Grafana asks them, and Chromium photographs a page that draws the answers, `picture.html`. Needs
Debian's packages prometheus and chromium.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from tests.contract.fronts import free_port
from tests.monitoring import scene
from tests.monitoring.prometheus import Prometheus, running
from tests.monitoring.queries import DASHBOARDS, asked, dashboard
from tests.monitoring.rules import ROOT
from tests.studio.process import running_studio

from faceloom.runtime.ports import metrics_port
from faceloom.runtime.stack import Stack, free_port_offset
from faceloom.runtime.targets import PIPELINE_PORT
from faceloom.store.package import package_profile

OUT = ROOT / "docs" / "dashboards"
_PAGE = Path(__file__).with_name("picture.html")
_SECONDS = 300
_STEP_SECONDS = 3
_RATE_INTERVAL = "30s"
_COLORS = 128
# What a person chooses at the top; everything else shows all there is.
_CHOSEN = {"service": {"$service": "generator"}}

_WIDTH, _ROW, _TITLE = 1440, 36, 36


def main() -> None:
    if shutil.which("chromium") is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="faceloom-") as folder:
        asyncio.run(_take(Path(folder)))


async def _take(folder: Path) -> None:
    offset = free_port_offset()
    os.environ["FACELOOM_PORT_OFFSET"] = str(offset)
    package_profile("tiny", folder / "mar")
    stack = Stack(folder / "mar", folder / "stack", offset)
    try:
        await stack.start()
        ports = {name: service.port for name, service in stack.services.items()}
        targets = {
            name: f"127.0.0.1:{metrics_port(port, offset)}"
            for name, port in (ports | {"pipeline": PIPELINE_PORT}).items()
        }
        targets["studio"] = f"127.0.0.1:{(studio_metrics := free_port())}"
        labels = f"sqlite:///{folder / 'labels.db'}"
        with (
            running(folder, targets) as prometheus,
            running_studio(folder / "out", labels, offset, studio_metrics) as (_, studio),
        ):
            started = time.time()
            await scene.play(folder / "out", studio, _SECONDS)
            shown = [(path.stem, filled(prometheus, path.stem, started)) for path in DASHBOARDS]
    finally:
        await stack.stop()
    OUT.mkdir(exist_ok=True)
    for name, content in shown:
        photograph(content, folder, OUT / f"{name}.png")


def filled(prometheus: Prometheus, name: str, start: float) -> dict[str, Any]:
    """A dashboard with what Prometheus answers to its panels, from that time until now."""
    content, end = dashboard(name), time.time()
    chosen = _CHOSEN.get(name, {})
    for panel in content["panels"]:
        for target in panel["targets"]:
            for variable, value in chosen.items():
                target["expr"] = target["expr"].replace(variable, value)
        panel["series"] = [
            _series(answer, target)
            for target in panel["targets"]
            for answer in _answers(prometheus, target, start, end)
        ]
    title = ": ".join([content["title"], *chosen.values()])
    return content | {"title": title, "start": start, "end": end, "step": _STEP_SECONDS}


def _answers(
    prometheus: Prometheus, target: dict[str, Any], start: float, end: float
) -> list[dict[str, Any]]:
    expr = asked(target["expr"], _RATE_INTERVAL)
    if target["instant"]:
        return prometheus.ask(expr)
    return prometheus.ask_range(expr, start, end, _STEP_SECONDS)


def _series(answer: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    labels = answer["metric"]
    name = re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), target["legendFormat"])
    if "value" in answer:
        return {"name": name, "labels": labels, "value": _number(answer["value"][1])}
    points = [(at, _number(value)) for at, value in answer["values"]]
    return {"name": name, "labels": labels, "points": [one for one in points if one[1] is not None]}


def _number(text: str) -> float | None:
    # JSON has no other numbers than these.
    value = float(text)
    return value if abs(value) < float("inf") else None


def photograph(content: dict[str, Any], folder: Path, picture: Path) -> None:
    """Draws a filled dashboard."""
    page, raw = folder / "page.html", folder / "raw.png"
    page.write_text(_PAGE.read_text().replace("DASHBOARD;", f"{json.dumps(content)};"))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in content["panels"])
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            f"--user-data-dir={folder / 'chromium'}",
            f"--window-size={_WIDTH},{_TITLE + _ROW * rows}",
            f"--screenshot={raw}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    # Few colours are enough, and a tenth of the bytes.
    with Image.open(raw) as image:
        image.convert("RGB").quantize(_COLORS).save(picture, optimize=True)


if __name__ == "__main__":
    main()
