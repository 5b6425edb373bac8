"""Where services are looked for, and what is said of settings that cannot be."""

import pytest

from faceloom.core.errors import UsageError
from faceloom.runtime.targets import Targets, targets_at


@pytest.mark.parametrize(
    ("environment", "target"),
    [
        ({}, "127.0.0.1:50052"),
        ({"HOST": "faces.example", "PORT_OFFSET": "7"}, "faces.example:50059"),
        ({"HOST": "::1"}, "[::1]:50052"),
        ({"HOST": "[::1]"}, "[::1]:50052"),
        (
            {"TARGETS": '{"quality": "dns:///elsewhere:1"}', "PORT_OFFSET": "7"},
            "dns:///elsewhere:1",
        ),
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
    with pytest.raises(UsageError, match=r"^port_offset=70000: ports would leave 1 to 65535"):
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
        ("TARGETS", '{"quality": "faces\\n.example:1"}', "the target of quality is none of gRPC's"),
        ("PORT_OFFSET", "", "give a valid integer"),
        ("PORT_OFFSET", "seven", "give a valid integer"),
        ("PORT_OFFSET", "1.5", "give a valid integer"),
        ("PORT_OFFSET", "20000", "ports would leave 1 to 65535; give -50049 to 15480"),
        ("PORT_OFFSET", "-50050", "ports would leave 1 to 65535"),
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
