"""What an address to listen on means, and what is said when it cannot be had. Real sockets."""

import os
import socket
from contextlib import closing

import pytest

from faceloom.core.errors import FaceloomError, UsageError
from faceloom.runtime import listening
from faceloom.runtime.listening import check_free, is_free, open_sockets, split_address


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        (":50051", ("", 50051)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", "localhost", "50051", "::1:50051", "[::1]", "a:b", "a:-1", "[a]:1", "a:70000", "a:²"]
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match=r"give HOST:PORT|ports end at 65535"):
        split_address(address)


def test_no_host_means_all_addresses_on_one_port() -> None:
    sockets = open_sockets("", 0)
    names = {one.getsockname()[:2] for one in sockets}
    for one in sockets:
        one.close()

    assert {host for host, _ in names} == {"0.0.0.0", "::"}
    assert len({port for _, port in names}) == 1


def test_localhost_of_two_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the hosts file of Debian and Ubuntu."""
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(listening.socket, "getaddrinfo", lambda *args, **kwargs: both)
    sockets = open_sockets("localhost", 0)
    names = [one.getsockname()[:2] for one in sockets]
    for one in sockets:
        one.close()

    assert [host for host, _ in names] == ["::1", "127.0.0.1"]
    assert names[0][1] == names[1][1]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_whoever_listens_on_all_addresses_has_the_port_of_loopback(family: int) -> None:
    host = "::" if family == socket.AF_INET6 else "0.0.0.0"
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as holder:
        port = holder.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(FaceloomError) as caught:
            check_free([port])

    assert str(caught.value).startswith(f"port {port} is in use by process {os.getpid()} (")
    assert str(caught.value).endswith("; stop it, or give another --port-offset")
    check_free([port])


def test_connections_that_ended_a_moment_ago_do_not_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        # Who closes first is in TIME_WAIT.
        accepted.close()
        client.close()

    assert is_free(port)


@pytest.mark.parametrize(
    ("host", "cause"),
    [
        ("192.0.2.1", "Cannot assign requested address"),
        ("no.invalid", "no address is known for no.invalid"),
        ("a" * 70, "no address is known for"),
    ],
)
def test_hosts_that_are_not_here(host: str, cause: str) -> None:
    with pytest.raises(FaceloomError, match=f"^cannot listen on {host}:50051: {cause}"):
        open_sockets(host, 50051)


def test_a_port_that_the_system_chose_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free for the first address may be taken for the second."""
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        taken = holder.getsockname()[1]
        real, asked = listening._listening, []

        def chosen(family: int, address: tuple[str, int]) -> socket.socket:
            asked.append(address)
            return real(family, ("127.0.0.2", taken) if len(asked) == 1 else address)

        monkeypatch.setattr(listening, "_listening", chosen)
        found = [(socket.AF_INET, ("127.0.0.2", 0)), (socket.AF_INET, ("127.0.0.1", 0))]
        monkeypatch.setattr(listening, "_addresses", lambda *_: found)
        sockets = open_sockets("two", 0)
        ports = {one.getsockname()[1] for one in sockets}
        for one in sockets:
            one.close()

    assert asked[1] == ("127.0.0.1", taken)
    assert len(ports) == 1 and ports != {taken}
