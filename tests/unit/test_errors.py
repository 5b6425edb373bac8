"""The error tree and its translation to and from google.rpc.Status."""

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from faceloom.core import errors
from faceloom.core.errors import ServiceError, from_status

# Written down from serving.md B2, not read from the code.
CODES = {
    "InvalidArgument": (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    "NotFound": (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    "Conflict": (grpc.StatusCode.ALREADY_EXISTS, "CONFLICT"),
    "FailedPrecondition": (grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
    "Overloaded": (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    "TooLarge": (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"),
    "DeadlineExceeded": (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    "Unavailable": (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    "Internal": (grpc.StatusCode.INTERNAL, "INTERNAL"),
}


def test_every_error_of_the_tree_is_covered_here() -> None:
    assert {kind.__name__ for kind in ServiceError.__subclasses__()} == set(CODES)


@pytest.mark.parametrize("name", CODES)
def test_an_error_has_the_code_and_reason_that_the_table_says(name: str) -> None:
    code, reason = CODES[name]

    status = getattr(errors, name)("no").to_status()

    assert status.code == code.value[0]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "faceloom")


@pytest.mark.parametrize("name", CODES)
def test_an_error_survives_the_wire(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("schlecht: ü", field="images[3].data", retry_after=1.25)

    back = from_status(status_pb2.Status.FromString(error.to_status().SerializeToString()))

    assert type(back) is kind
    assert (back.message, back.reason, back.field, back.retry_after) == (
        "schlecht: ü",
        error.reason,
        "images[3].data",
        1.25,
    )


def test_an_error_without_details_survives_the_wire() -> None:
    back = from_status(errors.Unavailable("no", reason="WORKER_DIED").to_status())

    assert (back.reason, back.field, back.retry_after) == ("WORKER_DIED", None, None)


def test_the_wire_form_carries_the_standard_details() -> None:
    status = errors.Overloaded("full", field="seeds", retry_after=0.5).to_status()

    bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(bad)
    assert status.details[2].Unpack(retry)
    assert [(v.field, v.description) for v in bad.field_violations] == [("seeds", "full")]
    assert retry.retry_delay == duration_pb2.Duration(nanos=500_000_000)


@pytest.mark.parametrize("code", [1, 2, 7, 10, 11, 12, 15, 16, 99])
def test_a_code_outside_the_tree_becomes_internal(code: int) -> None:
    assert type(from_status(status_pb2.Status(code=code, message="x"))) is errors.Internal


def test_details_of_strangers_are_passed_over() -> None:
    empty, unknown = any_pb2.Any(), any_pb2.Any(type_url="type.example.com/x.Y", value=b"\xff")
    empty.Pack(error_details_pb2.BadRequest())

    back = from_status(status_pb2.Status(code=3, message="x", details=[unknown, empty]))

    assert type(back) is errors.InvalidArgument
    assert back.field is None


def test_a_message_that_quotes_a_long_request_still_fits_into_trailers() -> None:
    error = errors.FailedPrecondition("model_version " + "ü" * 100_000, field="model_version")

    # Percent encoded once and base64 once; gRPC peers refuse metadata above 8 KiB.
    status = error.to_status()

    encoded = 3 * len(status.message.encode()) + 4 / 3 * status.ByteSize()
    assert encoded < 8192
    assert status.message.startswith("model_version üü")
