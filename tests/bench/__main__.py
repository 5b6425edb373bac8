"""`python -m tests.bench [NAME …]`: the measurements, one after the other; most against one running stack.

`networks` and `growth`, which take long without a GPU, are measured only when named.
"""

import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceloom.core.errors import UsageError
from faceloom.runtime.stack import Stack, free_port_offset
from faceloom.store.package import package_profile
from faceloom.training.translator.train import lite_distance
from tests.bench import (
    builds,
    growth,
    networks,
    overhead,
    processes,
    reading,
    studio,
    telemetry,
    training,
    translate,
)

OUT = Path("out/bench")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = set(sys.argv[1:]) or {
        "overhead",
        "telemetry",
        "translate",
        "build",
        "training",
        "studio",
        "reading",
    }
    if "training" in wanted and not _can_train():
        print("training is left out, EfficientNet's weights are missing: make setup")
        wanted.remove("training")
    if "networks" in wanted:
        for name in networks.NETWORKS:
            record(f"network-{name}", networks.measure(name))
    if "telemetry" in wanted:
        record("telemetry", asyncio.run(telemetry.measure()))
    if "studio" in wanted:
        with tempfile.TemporaryDirectory() as scratch:
            record("studio", studio.measure(Path(scratch)))
    if "reading" in wanted:
        with tempfile.TemporaryDirectory() as scratch:
            record("reading", reading.measure(Path(scratch)))
    if wanted - {"networks", "telemetry", "studio", "reading"}:
        asyncio.run(_measure(wanted))


def _can_train() -> bool:
    try:
        lite_distance()
    except UsageError:
        return False
    return True


async def _measure(wanted: set[str]) -> None:
    offset = free_port_offset()
    os.environ["FACELOOM_PORT_OFFSET"] = str(offset)
    with tempfile.TemporaryDirectory() as scratch:
        package_profile("tiny", Path(scratch, "mar"))
        stack = Stack(Path(scratch, "mar"), Path(scratch, "stack"), offset)
        try:
            await stack.start()
            idle = processes.resident_bytes()
            if "overhead" in wanted:
                for method in overhead.METHODS:
                    record(f"overhead-{method}", await overhead.measure(method))
            if "translate" in wanted:
                for case in translate.CASES:
                    record(f"translate-{case}", await translate.measure(case))
            if "build" in wanted:
                record("build", {"idle_bytes": idle, **await builds.measure(Path(scratch))})
            if "growth" in wanted:
                record("growth", await growth.measure(Path(scratch)))
            if "training" in wanted:
                dataset = await training.build(Path(scratch))
                for task in training.TASKS:
                    record(f"training-{task}", training.measure(task, dataset, Path(scratch)))
        finally:
            await stack.stop()


def record(name: str, figures: Mapping[str, Any]) -> None:
    """Writes one measurement with the machine it was made on."""
    machine = {"cores": os.cpu_count(), "machine": platform.machine()}
    path = OUT / f"{name}.json"
    path.write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n")
    print(path, json.dumps(figures))


if __name__ == "__main__":
    main()
