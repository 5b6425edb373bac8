"""What reading the list of a large dataset takes: seconds, and the memory of its process."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from faceloom import datasets
from faceloom.datasets.layout import DATASET, METADATA, RECIPE

RECORDS = (1_000, 100_000)
_KEPT = Path(__file__).parents[1] / "data" / "schema-1" / "dataset"


def measure(scratch: Path) -> dict[str, dict[str, float]]:
    """Of each number of records, in a process of its own."""
    return {f"{records}": _measured(_make(scratch / f"{records}", records)) for records in RECORDS}


def _measured(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.reading", str(folder)]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    return found


def _make(folder: Path, records: int) -> Path:
    """A dataset with a list of that length, and without its pictures."""
    folder.mkdir()
    for name in (DATASET, RECIPE):
        shutil.copy(_KEPT / name, folder / name)
    row: dict[str, Any] = json.loads((_KEPT / METADATA).read_text().partition("\n")[0])
    with (folder / METADATA).open("w") as file:
        for number in range(records):
            mine = {"id": f"{number:016x}", "ordinal": number, "seed": 2**32 + number}
            file.write(f"{json.dumps(row | mine)}\n")
    return folder


def _read(folder: str) -> dict[str, float]:
    datasets.open(folder)  # imports what it needs
    started = time.perf_counter()
    count = sum(1 for _ in datasets.open(folder).faces())
    seconds = time.perf_counter() - started
    # The kernel counts ru_maxrss from the process that started this one; VmHWM is its own.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return {"records": count, "seconds": seconds, "peak_bytes": peak}


if __name__ == "__main__":
    print(json.dumps(_read(sys.argv[1])))
