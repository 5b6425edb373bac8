"""`python -m tests.bench`: every measurement, one after the other, against one running stack."""

import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceloom.stack import Stack, free_port_offset
from faceloom.store.package import package_profile
from tests.bench import builds, overhead, processes

OUT = Path("out/bench")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    asyncio.run(_measure(set(sys.argv[1:]) or {"overhead", "build"}))


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
            if "build" in wanted:
                record("build", {"idle_bytes": idle, **await builds.measure(Path(scratch))})
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
