"""A PostgreSQL of its own, of Debian's package."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.fronts import free_port

# It refuses to be root.
_USER = "postgres"


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database that lives as long as the block."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    programs = found[-1].parent
    user = _USER if os.geteuid() == 0 else None
    name = user or pwd.getpwuid(os.geteuid()).pw_name
    # Its socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="faceloom-pg-") as folder:
        data, port = Path(folder, "data"), free_port()
        if user:
            shutil.chown(folder, user)

        def run(program: str, *arguments: str | Path) -> None:
            command = [programs / program, "-D", data, *arguments]
            done = subprocess.run(
                command, user=user, cwd="/", capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr + done.stdout

        run("initdb", "--auth=trust", "--no-sync")
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-w", "-l", Path(folder, "log"), "-o", settings, "start")
        try:
            yield f"postgresql://{name}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
