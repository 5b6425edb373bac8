"""Where the services are: on the ports of `faceloom up`, or where the environment says."""

import json
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from faceloom.core.settings import Settings
from faceloom.runtime.ports import check_offset
from faceloom.runtime.service import service, services

PIPELINE_PORT = 50050
# Its full name, for those that do without its stubs.
PIPELINE_SERVICE = "faceloom.pipeline.v1.PipelineService"

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
# What gRPC finds addresses by; https://github.com/grpc/grpc/blob/master/doc/naming.md
_SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")
# Of those, whose addresses end in a port of TCP, if in any.
_WITHOUT_PORTS = ("unix", "unix-abstract", "vsock")
_PORT = re.compile(r":(-?[0-9]+)$")
_MAX_PORT = 65_535


def _read_targets(given: object) -> object:
    if not isinstance(given, str):
        return given
    try:
        targets: object = json.loads(given)
    except ValueError:
        targets = None
    if not isinstance(targets, dict) or not all(isinstance(one, str) for one in targets.values()):
        raise ValueError('give a JSON object, for example {"generator": "dns:///generator:50051"}')
    return targets


def _check_targets(targets: dict[str, str]) -> dict[str, str]:
    known = [*services(), "pipeline"]
    for name, target in targets.items():
        if name not in known:
            raise ValueError(f"there is no service {name}; there are {', '.join(known)}")
        if not target.strip() or target != target.strip():
            raise ValueError(f"the target of {name} is empty, or has blanks around it")
        scheme, slashes, _ = target.partition("://")
        if not target.isprintable() or (slashes and scheme not in _SCHEMES):
            raise ValueError(f"the target of {name} is none of gRPC's: give HOST:PORT")
        for port in _ports(target):
            if not 1 <= port <= _MAX_PORT:
                raise ValueError(f"the target of {name}: ports are 1 to {_MAX_PORT}")
    return targets


def _ports(target: str) -> list[int]:
    """Those that a target names; ipv4: and ipv6: may name several addresses."""
    if target.partition(":")[0] in _WITHOUT_PORTS:
        return []
    return [int(found[1]) for one in target.split(",") if (found := _PORT.search(one))]


def _check_host(host: str) -> str:
    host = host.removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(host):
        raise ValueError("give a host's name or address, without a port")
    return f"[{host}]" if ":" in host else host


class Targets(Settings):
    """Where the services are, from `FACELOOM_HOST`, `FACELOOM_PORT_OFFSET` and `FACELOOM_TARGETS`.

    `FACELOOM_TARGETS` is a JSON object of gRPC targets by service and wins; `faceloom up` listens on the
    ports of the `service.toml` files, all moved by the offset.
    """

    host: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"
    port_offset: Annotated[int, AfterValidator(check_offset)] = 0
    targets: Annotated[
        dict[str, str], NoDecode, BeforeValidator(_read_targets), AfterValidator(_check_targets)
    ] = Field(default_factory=dict)

    def of(self, name: str) -> str:
        """The gRPC target of that service."""
        port = PIPELINE_PORT if name == "pipeline" else service(name).port
        return self.targets.get(name, f"{self.host}:{port + self.port_offset}")


def targets_at(port_offset: int | None) -> Targets:
    """Where the services are when all ports are moved by that much, or as the environment says."""
    return Targets() if port_offset is None else Targets(port_offset=port_offset)
