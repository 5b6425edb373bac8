"""Whether the tests notice a change: a copy of the checkout, in which one module is changed at a time."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
PACKAGE = Path("services/faceloom")
# What pytest ends with when a test failed, or when the change kept it from importing what it tests.
_NOTICED = (1, 2, 3, 4)


class Checkout:
    """A copy of this checkout.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tree = folder / "tree"
        self.environment = os.environ | {"PYTHONPATH": str(self.tree / "services")}
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                target = self.tree / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target)

    def notices(self, mutant: Mutant, tests: Sequence[str], seconds: float) -> bool:
        """Whether one of the tests fails, or takes more than so many seconds."""
        path = self.tree / PACKAGE / mutant.file
        source = path.read_bytes()
        path.write_bytes(mutant.apply(source))
        try:
            return self._pytest(tests, seconds) in _NOTICED
        finally:
            path.write_bytes(source)

    def _pytest(self, tests: Sequence[str], seconds: float) -> int:
        arguments = self._folder / "tests"
        arguments.write_text("\n".join(tests))
        flags = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={self._folder / 'scratch'}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *flags, f"@{arguments}"],
            cwd=self.tree,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return _NOTICED[0]
        finally:
            # Also what a test has started and could not end.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
