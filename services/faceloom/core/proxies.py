"""Proxies that the environment names: never on the way to this machine, else as gRPC and urllib do.

gRPC reads `grpc_proxy`, `https_proxy` and `http_proxy`, in lower case, and goes through the first that is
set; `no_grpc_proxy` or `no_proxy` lists the ends of hosts' names, and networks, that are reached directly.
"""

import os
import urllib.request
from http.client import HTTPResponse
from ipaddress import ip_address, ip_network
from typing import Any, cast
from urllib.parse import urlsplit

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def channel_options(target: str) -> list[tuple[str, Any]]:
    """What a gRPC channel to that target needs so that this machine is reached without a proxy."""
    return [("grpc.enable_http_proxy", 0)] if is_here(host_of(target)) else []


def open_url(url: str, timeout: float) -> HTTPResponse:
    """Opens an http or https URL, as `urllib.request.urlopen` does and with its errors."""
    here = is_here(urlsplit(url).hostname or "")
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if here else []))
    return cast(HTTPResponse, opener.open(url, timeout=timeout))


def proxy_variable(target: str) -> str | None:
    """The environment variable whose proxy a gRPC channel to that target goes through, if it does."""
    host = host_of(target)
    if is_here(host) or _is_exception(host):
        return None
    return next((name for name in _PROXIES if os.environ.get(name)), None)


def host_of(target: str) -> str:
    """The host of a gRPC target; empty for a Unix socket.

    `host:1`, `[::1]:1`, `dns:///host:1`, `dns://server/host:1`, `ipv4:127.0.0.1:1`, `unix:/socket`.
    """
    scheme, colon, rest = target.partition(":")
    if colon and scheme in ("unix", "unix-abstract", "vsock"):
        return ""
    if colon and scheme in ("dns", "ipv4", "ipv6"):
        target = rest.removeprefix("//").rpartition("/")[2] if rest.startswith("//") else rest
    if target.startswith("["):
        return target[1:].partition("]")[0]
    # An IPv6 address without brackets has no port.
    return target.partition(":")[0] if target.count(":") == 1 else target


def is_here(host: str) -> bool:
    """Whether that is this machine, by loopback or a Unix socket. Names are not looked up."""
    if host.lower().rstrip(".") in ("", "localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _is_exception(host: str) -> bool:
    listed = next((value for name in _EXCEPTIONS if (value := os.environ.get(name))), "")
    return any(_covers(entry.strip(), host) for entry in listed.split(",") if entry.strip())


def _covers(entry: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return host.lower().endswith(entry.lower())
