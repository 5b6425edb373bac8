"""A build of 1,000 candidates through TorchServe, and the seed workflow done naively: four scripts that hand
over folders of PNG files."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from faceloom.builds.options import BuildOptions
from faceloom.cli.build_display import BuildDisplay
from faceloom.cli.build_service import build_in_service
from faceloom.datasets.spec import BuildSpec
from tests.bench.processes import peak

CANDIDATES = 1000
SCRIPTS = Path(__file__).parent / "naive"


async def measure(scratch: Path) -> dict[str, Any]:
    """Candidates per second of both, and the stack's memory while it builds."""
    spec = BuildSpec(candidates=CANDIDATES)
    async with peak() as seen:
        result = await build_in_service(
            spec, scratch / "dataset", BuildOptions(), BuildDisplay(spec, quiet=True)
        )
    started = time.perf_counter()
    naive = scratch / "naive"
    for script, *folders in (
        ("generate.py", naive / "faces"),
        ("classify.py", naive / "faces", naive / "kept.json"),
        ("sketch.py", naive / "kept.json", naive / "sketches"),
        ("segment.py", naive / "kept.json", naive / "layouts"),
    ):
        command = [sys.executable, str(SCRIPTS / script), *map(str, folders)]
        process = await asyncio.create_subprocess_exec(*command)
        if await process.wait():
            raise RuntimeError(f"{script} failed")
    naive_seconds = time.perf_counter() - started
    kept = json.loads((naive / "kept.json").read_text())
    ours = CANDIDATES / result["elapsed_seconds"]
    return {
        "candidates": CANDIDATES,
        "accepted": result["accepted"],
        "naive_accepted": len(kept),
        "build_images_per_second": round(ours, 2),
        "naive_images_per_second": round(CANDIDATES / naive_seconds, 2),
        "ratio": round(ours * naive_seconds / CANDIDATES, 3),
        "peak_bytes": seen.resident,
        "seconds": result["seconds"],
    }
