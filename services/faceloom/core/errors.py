"""The errors of Faceloom, and their translation to and from `google.rpc.Status`.

    FaceloomError                 what a caller may want to catch
    ├── UsageError                a person's mistake at the command line: one line, exit code 2
    └── ServiceError              has a gRPC code, a reason and details
        ├── InvalidArgument       INVALID_ARGUMENT, names the field
        ├── NotFound              NOT_FOUND
        ├── Conflict              ALREADY_EXISTS: a request_id was used for something else
        ├── FailedPrecondition    FAILED_PRECONDITION
        ├── Overloaded            RESOURCE_EXHAUSTED, says when to come back
        ├── TooLarge              RESOURCE_EXHAUSTED: a message over the size limit
        ├── DeadlineExceeded      DEADLINE_EXCEEDED
        ├── Unavailable           UNAVAILABLE: safe to try again
        └── Internal              INTERNAL: a bug; carries an id to find in the logs, never a stack

Raise them anywhere; only the front and the command line turn them into something else.
"""

from typing import ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "faceloom"

# The reason of a refusal that a call for fewer things would not meet.
TOO_MANY_ITEMS = "TOO_MANY_ITEMS"

# Messages quote what the caller sent. A status travels in HTTP/2 trailers, which peers refuse above 8 KiB,
# and a message is there twice, up to twelve bytes a character.
_MAX_MESSAGE = 300


class FaceloomError(Exception):
    """Anything that Faceloom raises on purpose."""


class UsageError(FaceloomError):
    """A person's mistake; the message says what to do instead."""


class ServiceError(FaceloomError):
    """A failed call.

    Args:
        message: One line for the caller.
        reason: UPPER_SNAKE_CASE constant that programs can test.
        field: Path of the offending request field, for example `images[3].data`.
        retry_after: Seconds after which trying again makes sense.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    default_reason: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        if len(message) > _MAX_MESSAGE:
            message = f"{message[: _MAX_MESSAGE - 1]}…"
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.field = field
        self.retry_after = retry_after

    def to_status(self) -> status_pb2.Status:
        """This error on the wire: code, message, ErrorInfo and whatever details apply."""
        packed = [_pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN))]
        if self.field is not None:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self.field, description=self.message
            )
            packed.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)


class InvalidArgument(ServiceError):
    """The request itself is wrong."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    default_reason = "INVALID_ARGUMENT"


class NotFound(ServiceError):
    """What the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    default_reason = "NOT_FOUND"


class Conflict(ServiceError):
    """The name is taken by something else."""

    code = grpc.StatusCode.ALREADY_EXISTS
    default_reason = "CONFLICT"


class FailedPrecondition(ServiceError):
    """The request is fine, the state is not."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class Overloaded(ServiceError):
    """The queue is full."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "QUEUE_FULL"


class TooLarge(ServiceError):
    """A message is over the size limit."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "MESSAGE_TOO_LARGE"


class DeadlineExceeded(ServiceError):
    """Nobody waits for the answer any more."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"


class Unavailable(ServiceError):
    """Not now; trying again is safe."""

    code = grpc.StatusCode.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class Internal(ServiceError):
    """A bug on our side."""

    code = grpc.StatusCode.INTERNAL
    default_reason = "INTERNAL"


_BY_REASON_OR_CODE: dict[str | int, type[ServiceError]] = {TooLarge.default_reason: TooLarge} | {
    kind.code.value[0]: kind
    for kind in (
        InvalidArgument,
        NotFound,
        Conflict,
        FailedPrecondition,
        Overloaded,
        DeadlineExceeded,
        Unavailable,
        Internal,
    )
}


def from_status(status: status_pb2.Status) -> ServiceError:
    """The error that a status stands for. Codes outside the tree become `Internal`."""
    info, bad, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    field = None
    retry_after = None
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
            field = next((violation.field for violation in bad.field_violations), None)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    kind = _BY_REASON_OR_CODE.get(info.reason) or _BY_REASON_OR_CODE.get(status.code, Internal)
    return kind(status.message, reason=info.reason or None, field=field, retry_after=retry_after)


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
