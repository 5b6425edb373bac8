"""What the machine allows: open files and memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from faceloom.core.errors import FaceloomError
from faceloom.runtime.limits import available_memory, check_memory

MB = 2**20


def put(root: Path, name: str, content: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """With 8,000 MB, of which 1,000 are swap."""
    put(
        tmp_path,
        "proc/meminfo",
        "MemTotal: 9999999 kB\nMemAvailable: 7168000 kB\nSwapFree: 1024000 kB\nHugePages_Total: 0\n",
    )
    return tmp_path


def test_a_machine_without_limits(machine: Path) -> None:
    assert available_memory(machine) == 8000 * MB


def test_the_tightest_cgroup_of_version_2_counts(machine: Path) -> None:
    put(machine, "proc/self/cgroup", "0::/user/job\n")
    put(machine, "sys/fs/cgroup/user/job/memory.max", "max\n")
    put(machine, "sys/fs/cgroup/user/job/memory.current", "5\n")
    put(machine, "sys/fs/cgroup/user/memory.max", f"{1000 * MB}\n")
    put(machine, "sys/fs/cgroup/user/memory.current", f"{900 * MB}\n")
    # Read files that the kernel keeps until somebody wants the memory.
    put(machine, "sys/fs/cgroup/user/memory.stat", f"anon 1\ninactive_file {200 * MB}\n")

    assert available_memory(machine) == 300 * MB


@pytest.mark.parametrize("path", ["/", "/docker/1234"])
def test_a_container_with_cgroups_of_version_1(path: str, machine: Path) -> None:
    put(machine, "proc/self/cgroup", f"5:cpu,cpuacct:/x\n4:memory:{path}\n0::/\n")
    put(machine, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{512 * MB}\n")
    put(machine, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{500 * MB}\n")

    assert available_memory(machine) == 12 * MB


def test_a_limit_that_is_none(machine: Path) -> None:
    put(machine, "proc/self/cgroup", "4:memory:/\n")
    put(machine, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    put(machine, "sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n")

    assert available_memory(machine) == 8000 * MB


def test_a_system_that_does_not_say(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


def test_too_little_memory_is_said_in_numbers() -> None:
    check_memory(MB)
    with pytest.raises(
        FaceloomError, match=r"too little memory: \d+ MB .* and 1048576 MB are needed"
    ):
        check_memory(2**40)


def test_a_limit_of_addresses_is_said_before_java_meets_it() -> None:
    program = "from faceloom.runtime.limits import check_memory; check_memory(1)"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v 1000000 && exec {sys.executable} -c '{program}'"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr.endswith(
        "a process may have 976 MB of addresses here, and TorchServe needs 3000: raise the limit with"
        " ulimit -v unlimited\n"
    )


PROGRAM = """
import resource
from faceloom.runtime.limits import raise_file_limit
raise_file_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("limits", "outcome"), [("-Sn 64", ""), ("-n 128", "128"), ("-n 64", "needs 128: raise the")]
)
def test_open_files(limits: str, outcome: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"ulimit {limits} && exec {sys.executable} -c '{PROGRAM}'"],
        capture_output=True,
        text=True,
        check=False,
    )

    if outcome:
        assert outcome in done.stdout + done.stderr
    else:
        assert int(done.stdout) > 64
