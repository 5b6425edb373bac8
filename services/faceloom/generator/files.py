"""Atomic replacement of files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary file beside ``path``, fsync it and rename it over ``path``."""
    temporary = path.with_name(path.name + ".part")
    write(temporary)
    temporary.chmod(0o644)  # safetensors creates files for their owner only
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
