"""The command line as its users get it, but in this process: a new one takes seconds to begin."""

import io
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from faceloom.cli.main import run


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def faceloom(*arguments: object, store: Path) -> Done:
    """Runs `faceloom` with that model store."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("FACELOOM_MODEL_STORE", str(store))
        patch.setattr(sys, "argv", ["faceloom", *map(str, arguments)])
        # Commands that log change these for their whole process.
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setattr(threading, "excepthook", threading.excepthook)
        with pytest.raises(SystemExit) as ended:
            run()
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())
