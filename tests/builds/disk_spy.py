"""What a program asks of the disk, in order: which bytes it waits for, and which names it gives."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Synced:
    """Somebody waited until this was on the disk.

    Args:
        path: A file or a folder.
        content: The bytes of the file, or the names in the folder.
    """

    path: Path
    content: bytes | frozenset[str]


@dataclass(frozen=True)
class Named:
    """A file or folder came by a name."""

    source: Path
    path: Path


@dataclass
class DiskSpy:
    """Records the events; `before_name` is called ahead of every new name, and may raise."""

    events: list[Synced | Named] = field(default_factory=list)
    before_name: Callable[[], None] = lambda: None

    def naming(self, path: Path) -> int:
        """When the one thing of that path came by its name."""
        (found,) = (
            number
            for number, event in enumerate(self.events)
            if isinstance(event, Named) and event.path == path
        )
        return found

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Listens in on the calls of this process."""
        sync = os.fsync

        def synced(handle: int) -> None:
            sync(handle)
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            content = frozenset(os.listdir(path)) if path.is_dir() else path.read_bytes()
            self.events.append(Synced(path, content))

        patch.setattr(os, "fsync", synced)
        for name in ("rename", "replace", "link"):
            patch.setattr(os, name, self._naming(getattr(os, name)))

    def _naming(self, call: Callable[..., None]) -> Callable[..., None]:
        def named(source: Any, target: Any, **options: Any) -> None:
            self.before_name()
            call(source, target, **options)
            self.events.append(Named(Path(source), Path(target)))

        return named
