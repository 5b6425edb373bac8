"""What every request of the studio goes through: its id, its metrics, its errors as JSON, its headers."""

import logging
import time
from urllib.parse import urlsplit

import grpc
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from faceloom.core.errors import FaceloomError, ServiceError, UsageError
from faceloom.core.request_id import REQUEST_ID, current_request_id, take_request_id
from faceloom.core.tracing import answering_http, end_http
from faceloom.datasets import DamagedDataset
from faceloom.studio.metrics import StudioMetrics

log = logging.getLogger(__name__)

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_HEADERS = {
    # Pictures of a drawing are made by the page itself.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SAFE = {"GET", "HEAD"}


def answering(metrics: StudioMetrics) -> Middleware:
    """The middleware around all handlers."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        take_request_id({REQUEST_ID: request.headers.get(REQUEST_ID, "")})
        started = time.monotonic()
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "unknown"
        with answering_http(request.method, route, request.headers) as span:
            response = await _answer(request, handler)
            end_http(span, response.status)
        metrics.answered(route, request.method, response.status, time.monotonic() - started)
        response.headers.update(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-cache")
        response.headers[REQUEST_ID] = current_request_id()
        return response

    return answer


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the handler answers, or why it does not."""
    try:
        if request.method not in _SAFE and not _from_here(request):
            return _refusal(403, "this page belongs to another site")
        return await handler(request)
    except web.HTTPException as error:
        # Those that aiohttp raises: no such page, a body that is too large.
        return _refusal(error.status, error.reason)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        return _refusal(400, f"{field}: {first['msg']}" if field else first["msg"])
    except UsageError as error:
        return _refusal(400, str(error))
    except ServiceError as error:
        status = _HTTP.get(error.code, 500)
        if status >= 500:
            log.warning("failed", extra={"path": request.path, "cause": error.message})
        return _refusal(status, error.message, error.retry_after)
    except DamagedDataset as error:
        return _refusal(409, str(error))
    except FaceloomError as error:
        return _refusal(500, str(error))
    except Exception:
        log.exception("failed", extra={"path": request.path})
        return _refusal(500, f"a fault of the studio; its log tells of {current_request_id()}")


def _from_here(request: web.Request) -> bool:
    """Whether no other site's page sent the request; programs say nothing and are believed."""
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _refusal(status: int, why: str, retry_after: float | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": f"{max(1, round(retry_after))}"}
    return web.json_response({"error": why}, status=status, headers=headers)
