"""Reads files one after the other and prints what each took: `python untrusted_child.py FILE...`

A line of JSON per file: error (null if it was read), seconds of CPU, and megabytes of memory at most.
"""

import json
import resource
import sys
from pathlib import Path

from faceloom.checkpoints.import_result import Answers
from faceloom.checkpoints.untrusted import RefusedFile, read_checkpoint, read_pickle
from faceloom.sketch.checkpoint import FORMATS
from faceloom.training.translator.weight_files import read_weights

READERS = {
    ".pt": read_checkpoint,
    ".safetensors": read_weights,
    ".pkl": lambda path: read_pickle(path, {}),
    ".t7": lambda path: FORMATS["torch7"](path, Answers()),
    ".h5": lambda path: FORMATS["sketchkeras"](path, Answers()),
}

# A reader that forgets its limits must not take the machine with it.
_MOST_MEMORY = 8 * 2**30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    for name in sys.argv[1:]:
        path = Path(name)
        # The peak starts again from here, Linux' proc(5) says.
        Path("/proc/self/clear_refs").write_text("5")
        before, began = _megabytes("VmRSS"), _seconds()
        error = None
        try:
            READERS[path.suffix](path)
        except RefusedFile as refusal:
            error = str(refusal)
        spent = {"seconds": _seconds() - began, "megabytes": _megabytes("VmHWM") - before}
        print(json.dumps({"error": error} | spent), flush=True)


def _megabytes(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def _seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
