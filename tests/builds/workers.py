"""Workers as processes of this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from faceloom.datasets.place import ObjectUrl
from faceloom.datasets.spec import BuildSpec

ROOT = Path(__file__).parents[2]
Worker = subprocess.Popen[bytes]


def start_worker(
    output: Path | ObjectUrl,
    index: int,
    *options: str,
    spec: BuildSpec | None = None,
    **environment: str,
) -> Worker:
    """`faceloom jobs work` for a shard; of a new build where a spec is given."""
    arguments = ["--output", str(output), "--index", str(index), *options]
    if spec is not None:
        size = "candidates" if spec.candidates else "accepted"
        arguments += [f"--{size}", str(spec.target), "--seed", str(spec.seed)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.builds.worker_process", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
    )


def drafts(output: Path) -> list[Path]:
    return list((output / ".build" / "shards").glob(".tmp-*"))


def files_in_drafts(output: Path) -> int:
    return sum(len(files) for draft in drafts(output) for _, _, files in os.walk(draft))


def wait_for_files(worker: Worker, output: Path, files: int) -> None:
    """Returns when so many files lie in drafts, or the worker has ended: progress is the clock."""
    while worker.poll() is None and files_in_drafts(output) < files:
        time.sleep(0.002)


def end(worker: Worker) -> tuple[int, str]:
    """Waits for its end; answers with the exit code and the last line it said."""
    _, said = worker.communicate()
    lines = said.decode().splitlines()
    return worker.returncode, lines[-1] if lines else ""


def kill(worker: Worker) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
