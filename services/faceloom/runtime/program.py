"""A child process whose output becomes lines of JSON in its log, whatever it writes and however it ends."""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

from faceloom.core.errors import FaceloomError
from faceloom.core.logs import as_event, event

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 20
# How long a dead process's last words may take to reach the log.
_LAST_WORDS_SECONDS = 2
# As many lines as Java writes when it crashes.
_REMEMBERED = 3000
# Loaded here, because a child that shares locks with threads may only call.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass
class Program:
    """One process, and what is needed to start it again.

    Args:
        name: What its log lines and others call it.
        command: Command line.
        environment: All of it.
        log: The file that its output is added to.
        folder: Its working directory.
        ports: Where it listens on loopback.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    folder: Path
    ports: Sequence[int] = ()
    process: asyncio.subprocess.Process | None = None
    starts: list[float] = field(default_factory=list)
    _said: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _reader: Thread | None = None

    async def start(self) -> None:
        """Starts it in a process group of its own, which dies with this process.

        Raises:
            FaceloomError: It cannot be started, or its log cannot be written.
        """
        self.starts.append(time.monotonic())
        self._said.clear()
        with contextlib.ExitStack() as opened:
            try:
                output = opened.enter_context(self.log.open("ab", buffering=0))
                output.write(_line(event("info", self.name, "starts")))
                reading, writing = os.pipe()
                opened.callback(os.close, writing)
                lines = opened.enter_context(os.fdopen(reading, "rb"))
                self.process = await asyncio.create_subprocess_exec(
                    *self.command,
                    env=self.environment,
                    cwd=self.folder,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=writing,
                    stderr=writing,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,
                )
            except OSError as error:
                place = error.filename or self.log
                raise FaceloomError(
                    f"{self.name} cannot be started: {place}: {error.strerror}"
                ) from None
            os.close(writing)
            opened.pop_all()
        self._reader = Thread(target=self._read, args=(lines, output), daemon=True)
        self._reader.start()

    async def stop(self) -> None:
        """Asks it to stop, insists after a while, and leaves no descendant behind."""
        if self.process is None:
            return
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                log.warning("did not stop in time", extra={"program": self.name})
        await self.kill()

    async def kill(self) -> None:
        """Ends what is left of its process group, for example workers that outlived TorchServe."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()
            await self.last_words()

    async def last_words(self) -> None:
        """Returns when what a dead process said is in its log."""
        if self._reader is not None:
            await asyncio.to_thread(self._reader.join, _LAST_WORDS_SECONDS)

    @property
    def said(self) -> list[dict[str, Any]]:
        """The last lines of its log since it was started."""
        return list(self._said)

    @property
    def backoff(self) -> float:
        """Seconds to wait before the next start: longer when it dies again and again."""
        recent = [start for start in self.starts if time.monotonic() - start < 60]
        return min(10.0, 0.25 * float(2 ** len(recent)))

    def _read(self, lines: BinaryIO, output: BinaryIO) -> None:
        with lines, output:
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                if not text:
                    continue
                self._said.append(as_event(text, self.name))
                # A full disk takes no lines, and must not make the program wait for it.
                with contextlib.suppress(OSError):
                    output.write(_line(self._said[-1]))


def _line(said: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(said)}\n".encode()


def _die_with_parent() -> None:
    """Runs in the child: whoever is killed leaves no server behind."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
