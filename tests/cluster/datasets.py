"""Datasets made without the cluster, for comparison."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Local:
    """A finished dataset."""

    output: Path
    candidates: int
    digest: str


def build_here(output: Path, candidates: int) -> Local:
    """Made by a process of this machine, with the same models."""
    command = [
        sys.executable,
        "-m",
        "faceloom.cli.main",
        "build",
        "--engine",
        "inprocess",
        "--json",
    ]
    done = subprocess.run(
        [*command, "--candidates", str(candidates), "--out", str(output)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Local(output, candidates, json.loads(done.stdout.splitlines()[-1])["dataset_digest"])
