"""Which addresses a proxy is used for, and what is said of it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from faceloom.core.errors import Unavailable
from faceloom.core.proxies import host_of, is_here, open_url, proxy_variable
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.retrying import Retrying

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("faces.example:50051", "faces.example"),
        ("dns:///faces.example:50051", "faces.example"),
        ("dns://9.9.9.9/faces.example:50051", "faces.example"),
        ("dns:faces.example", "faces.example"),
        ("127.0.0.1:50051", "127.0.0.1"),
        ("[::1]:50051", "::1"),
        ("dns:///[::1]:50051", "::1"),
        ("ipv4:127.0.0.1:50051", "127.0.0.1"),
        ("ipv6:[::1]:50051", "::1"),
        ("::1", "::1"),
        ("unix:/run/faceloom", ""),
        ("unix:///run/faceloom", ""),
        ("unix-abstract:faceloom", ""),
    ],
)
def test_the_host_of_a_target(target: str, host: str) -> None:
    assert host_of(target) == host


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("LocalHost.", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_this_machine_is_known(host: str, here: bool) -> None:
    assert is_here(host) == here


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, None),
        ({"http_proxy": "http://p:1"}, "http_proxy"),
        ({"http_proxy": "http://p:1", "https_proxy": "http://p:1"}, "https_proxy"),
        ({"https_proxy": "http://p:1", "grpc_proxy": "http://p:1"}, "grpc_proxy"),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "other, .example"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "faces.example"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "other"}, "http_proxy"),
    ],
)
def test_the_variable_that_applies(
    environment: dict[str, str], variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert proxy_variable("faces.example:50051") == variable
    assert proxy_variable("localhost:50051") is None


def test_networks_are_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://p:1")
    monkeypatch.setenv("no_proxy", "10.0.0.0/8")

    assert proxy_variable("10.1.2.3:50051") is None
    assert proxy_variable("11.1.2.3:50051") == "http_proxy"


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machine_is_never_reached_through_a_proxy(
    host: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (variable, variable.upper()):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def answer(request: bytes, context: object) -> bytes:
        return b"answer to " + request

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(answer)
    service = "faceloom.quality.v1.QualityService"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"Classify": method}),)
    )
    port = server.add_insecure_port(f"{host}:0")
    await server.start()
    caller = ChannelCaller({"quality": f"{host}:{port}"}, retrying=Retrying(wait=0))

    assert await caller.call("quality", "Classify", b"r", 30) == b"answer to r"

    await caller.close()
    await server.stop(0)


async def test_an_error_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://someone:secret@127.0.0.1:9")
    caller = ChannelCaller({"quality": "faces.example:50051"}, retrying=Retrying(wait=0))

    with pytest.raises(Unavailable) as caught:
        await caller.call("quality", "Classify", b"r", 30)

    assert caught.value.message == (
        "the quality service does not answer at faces.example:50051 through the proxy that https_proxy"
        " names; add faces.example to no_proxy to go around it"
    )
    await caller.close()


@contextmanager
def http_server(body: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Answers one request with that body, and keeps its first line."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                seen.append(connection.recv(65536).partition(b"\r\n")[0])
                length = b"Content-Length: %d" % len(body)
                connection.sendall(b"HTTP/1.0 200 OK\r\n" + length + b"\r\n\r\n" + body)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], seen
        thread.join()


def test_http_to_this_machine_goes_around_proxies_and_other_http_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with (
        http_server(b"direct") as (port, _),
        open_url(f"http://127.0.0.1:{port}/", 30) as answer,
    ):
        assert answer.read() == b"direct"

    with http_server(b"by proxy") as (port, seen):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with open_url("http://faces.example/models", 30) as answer:
            assert answer.read() == b"by proxy"
    assert seen == [b"GET http://faces.example/models HTTP/1.1"]
