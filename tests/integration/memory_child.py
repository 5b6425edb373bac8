"""Does one thing with models and prints what memory it took: `python memory_child.py WHAT PATH...`

A line of JSON, in bytes beyond what the process had before: peak, and what is kept at the end.
"""

import json
import sys
from pathlib import Path
from typing import Any

from faceloom.checkpoints.import_result import Answers
from faceloom.checkpoints.importer import formats, import_model
from faceloom.runtime.archive import write_archive
from faceloom.runtime.service import service
from faceloom.translator.merge import join_models


def load(folder: Path) -> Any:
    """As a worker does."""
    handler = service("translator").new_handler()
    handler.load(folder, "cpu")
    return handler


def main() -> None:
    what, path, *others = sys.argv[1], *map(Path, sys.argv[2:])
    deeds = {
        "import": lambda: import_model("translator", "psp", path, path.stem, "NC", Answers()),
        "join": lambda: join_models("joined", [path, *others]),
        "load": lambda: load(path),
        "package": lambda: write_archive(service("translator"), [path], path.parent / "mar"),
    }
    # Programs and libraries are not to be counted.
    formats("translator")
    service("translator").new_handler()
    # The peak starts again from here, Linux' proc(5) says.
    Path("/proc/self/clear_refs").write_text("5")
    before = _bytes("VmRSS")
    kept = deeds[what]()
    # In this order: to read one takes memory, too, and no peak is below what is kept.
    resident, peak = _bytes("VmRSS"), _bytes("VmHWM")
    print(json.dumps({"peak": peak - before, "kept": resident - before}))
    del kept


def _bytes(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
