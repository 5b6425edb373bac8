"""What it takes to extend a build of 10,000 candidates by 100, beside a build of 100 alone."""

from pathlib import Path
from typing import Any

from faceloom.builds.options import BuildOptions
from faceloom.cli.build_display import BuildDisplay
from faceloom.cli.build_service import build_in_service
from faceloom.datasets.spec import BuildSpec

LARGE, MORE = 10_000, 100


async def measure(scratch: Path) -> dict[str, Any]:
    """Seconds of each; the small build is made before and after, since machines drift."""
    small = [await _seconds(scratch / "before", BuildSpec(candidates=MORE, seed=1))]
    large = await _seconds(scratch / "large", BuildSpec(candidates=LARGE))
    grown = await _seconds(scratch / "large", BuildSpec(candidates=LARGE + MORE))
    small.append(await _seconds(scratch / "after", BuildSpec(candidates=MORE, seed=2)))
    return {
        "candidates": LARGE,
        "more": MORE,
        "large_seconds": large,
        "grown_seconds": grown,
        "small_seconds": small,
        "ratio": round(grown / (sum(small) / len(small)), 3),
    }


async def _seconds(output: Path, spec: BuildSpec) -> float:
    result = await build_in_service(spec, output, BuildOptions(), BuildDisplay(spec, quiet=True))
    return float(result["elapsed_seconds"])
