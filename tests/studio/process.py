"""`faceloom studio` as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_studio(
    datasets: Path,
    labels: str,
    port_offset: int = 0,
    metrics_port: int | None = None,
    host: str | None = None,
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process and its address, as long as the block; then it is asked to stop, and must.

    Args:
        datasets: Its folder.
        labels: The URL of its labels.
        port_offset: Where the services are.
        metrics_port: Where its metrics are to be.
        host: What to listen on; the default when not given.
    """
    command = [sys.executable, "-m", "faceloom.cli.main", "studio", "--port", "0"]
    if metrics_port is not None:
        command += ["--metrics-port", str(metrics_port)]
    if host is not None:
        command += ["--host", host]
    process = subprocess.Popen(
        [*command, "--datasets", datasets, "--labels", labels],
        env={**os.environ, "FACELOOM_PORT_OFFSET": str(port_offset)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, "the studio did not start"
        yield process, address
    finally:
        process.terminate()
        code = process.wait(30)
        process.stdout.close()
    assert code == 0
