"""What a studio keeps in memory: with nothing to show, and when people label a large dataset."""

import asyncio
import json
import urllib.request
from pathlib import Path

import psutil

from faceloom.builds.run import run_build
from faceloom.datasets.layout import REJECTED
from faceloom.datasets.spec import BuildSpec
from tests.builds.fake_services import FakeServices
from tests.studio.process import running_studio

CANDIDATES = 180_000
_MADE = 400


def measure(scratch: Path) -> dict[str, int]:
    """Resident bytes of the process."""
    with running_studio(scratch / "datasets", f"sqlite:///{scratch / 'labels.db'}") as (
        process,
        url,
    ):
        _get(f"{url}/api/datasets")
        empty = _resident(process.pid)
        _make(scratch / "datasets" / "large")
        _get(f"{url}/api/faces?dataset=large")
        _get(f"{url}/api/labels/next?dataset=large&person=Ann")
        return {
            "candidates": CANDIDATES,
            "empty_bytes": empty,
            "open_bytes": _resident(process.pid),
        }


def _make(folder: Path) -> None:
    """A dataset whose lists are as long as those of a large one, without its pictures."""
    asyncio.run(run_build(BuildSpec(_MADE), folder, FakeServices().client()))
    rejected = folder / REJECTED
    row = json.loads(rejected.read_text().partition("\n")[0])
    more = (row | {"id": f"{number:016x}"} for number in range(CANDIDATES - _MADE))
    with rejected.open("a") as file:
        file.writelines(f"{json.dumps(one)}\n" for one in more)


def _get(url: str) -> None:
    urllib.request.urlopen(url, timeout=60).read()


def _resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
