"""Ports of stacks: no two stacks share one."""

import pytest

from faceloom.core.errors import UsageError
from faceloom.runtime.ports import check_offset, free_offset, metrics_port
from faceloom.runtime.service import services
from faceloom.runtime.targets import PIPELINE_PORT
from faceloom.runtime.torchserve.config import Ports

OWN = [PIPELINE_PORT, *(service.port for service in services().values())]
OFFSETS = range(0, 15_461, 20)


def ports(offset: int) -> list[int]:
    """All that a stack listens on."""
    metrics = [metrics_port(port, offset) for port in OWN]
    return [*(port + offset for port in OWN), *metrics, *Ports().moved(offset).listening]


def test_the_default_ports() -> None:
    assert sorted(ports(0)) == [
        *(7070, 7071),
        *(8080, 8081, 8082),
        *range(49050, 49056),
        *range(50050, 50056),
    ]


def test_no_two_stacks_share_a_port() -> None:
    all_of_them = [port for offset in OFFSETS for port in ports(check_offset(offset))]

    assert len(set(all_of_them)) == len(all_of_them) == 17 * len(OFFSETS)
    assert min(all_of_them) > 1023 and max(all_of_them) < 65536


@pytest.mark.parametrize("offset", [1, 10, 1010, -20, 15_480, 10**9])
def test_other_offsets_are_refused(offset: int) -> None:
    with pytest.raises(UsageError, match=f"^--port-offset {offset}: give a multiple of 20 from 0"):
        check_offset(offset)


def test_a_free_offset_is_one_that_a_stack_may_have() -> None:
    assert check_offset(free_offset(OWN, Ports().listening)) >= 100
