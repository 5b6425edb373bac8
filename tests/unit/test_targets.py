"""Where services are looked for, and what is said of settings that cannot be."""

import pytest

from faceloom.core.errors import UsageError
from faceloom.runtime.ports import check_offset
from faceloom.runtime.targets import Targets, targets_at


@pytest.mark.parametrize(
    ("environment", "target"),
    [
        ({}, "127.0.0.1:50052"),
        ({"HOST": "faces.example", "PORT_OFFSET": "20"}, "faces.example:50072"),
        ({"HOST": "::1"}, "[::1]:50052"),
        ({"HOST": "[::1]"}, "[::1]:50052"),
        (
            {"TARGETS": '{"quality": "dns:///elsewhere:1"}', "PORT_OFFSET": "20"},
            "dns:///elsewhere:1",
        ),
        ({"TARGETS": '{"quality": "http:65535"}'}, "http:65535"),
        ({"TARGETS": '{"quality": "ipv6:[::1]:1,[::2]:2"}'}, "ipv6:[::1]:1,[::2]:2"),
        ({"TARGETS": '{"quality": "unix:///run/quality:70000"}'}, "unix:///run/quality:70000"),
        ({"TARGETS": '{"pipeline": "elsewhere:1"}'}, "127.0.0.1:50052"),
        ({"TARGETS": "{}"}, "127.0.0.1:50052"),
    ],
)
def test_the_environment_says_where(
    environment: dict[str, str], target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"FACELOOM_{name}", value)

    assert Targets().of("quality") == target


def test_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_PORT_OFFSET", "nonsense")

    assert targets_at(20).of("quality") == "127.0.0.1:50072"
    with pytest.raises(
        UsageError, match=r"^--port-offset 70000: give a multiple of 20 from 0 to 15460"
    ):
        targets_at(70_000)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("TARGETS", "generator=localhost:50051", "give a JSON object, for example"),
        ("TARGETS", "", "give a JSON object, for example"),
        ("TARGETS", "[]", "give a JSON object, for example"),
        ("TARGETS", '{"quality": 50052}', "give a JSON object, for example"),
        (
            "TARGETS",
            '{"qualty": "elsewhere:1"}',
            "there is no service qualty; there are generator,",
        ),
        ("TARGETS", '{"quality": ""}', "the target of quality is empty"),
        ("TARGETS", '{"quality": " elsewhere:1"}', "the target of quality is empty, or has blanks"),
        ("TARGETS", '{"quality": "http://faces.example:1"}', "the target of quality is none of"),
        ("TARGETS", '{"quality": "grpc://faces.example:1"}', "the target of quality is none of"),
        ("TARGETS", '{"quality": "faces.example:65536"}', "the target of quality: ports are 1 to"),
        ("TARGETS", '{"quality": "dns:///[::1]:0"}', "the target of quality: ports are 1 to 65535"),
        ("TARGETS", '{"quality": "ipv4:10.0.0.1:-1,10.0.0.2:1"}', "the target of quality: ports"),
        ("TARGETS", '{"quality": "faces\\n.example:1"}', "the target of quality is none of gRPC's"),
        ("PORT_OFFSET", "", "give a valid integer"),
        ("PORT_OFFSET", "seven", "give a valid integer"),
        ("PORT_OFFSET", "1.5", "give a valid integer"),
        ("HOST", "", "give a host's name or address, without a port"),
        ("HOST", "http://faces.example", "give a host's name or address, without a port"),
        ("HOST", "faces.example:50051", "give a host's name or address, without a port"),
        ("HOST", "two words", "give a host's name or address, without a port"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    name: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FACELOOM_{name}", value)

    with pytest.raises(UsageError) as caught:
        Targets()

    assert str(caught.value).startswith(f"FACELOOM_{name}={value}: {why}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("offset", ["7", "-20", "15500"])
def test_clients_take_the_offsets_that_stacks_take(
    offset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELOOM_PORT_OFFSET", offset)
    with pytest.raises(UsageError) as of_stacks:
        check_offset(int(offset))

    with pytest.raises(UsageError) as of_clients:
        Targets()

    assert str(of_clients.value) == str(of_stacks.value)
