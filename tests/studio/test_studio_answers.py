"""What all answers of the studio have in common."""

import logging

import pytest
from tests.studio.conftest import Studio

WORD = {"dataset": "faces", "id": "nobody", "person": "Ann", "label": "keep"}


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://elsewhere.example", 403), ("null", 403), (None, 404), ("own", 404)],
)
async def test_pages_of_other_sites_change_nothing(
    studio: Studio, origin: str | None, status: int
) -> None:
    own = str(studio.http.make_url("/")).rstrip("/")
    headers = {} if origin is None else {"Origin": own if origin == "own" else origin}
    async with studio.http.put("/api/labels", json=WORD, headers=headers) as found:
        assert found.status == status


@pytest.mark.parametrize("page", ["gallery", "label", "draw", "builds"])
async def test_pages_load_nothing_from_elsewhere(studio: Studio, page: str) -> None:
    async with studio.http.get(f"/{page}") as found:
        text = await found.text()
        policy = found.headers["Content-Security-Policy"]

    assert found.status == 200
    assert "default-src 'self'" in policy
    assert "//" not in text.replace("<!--", "")
    for name in ("studio.css", "icon.svg", f"{page}.js"):
        async with studio.http.get(f"/static/{name}") as part:
            assert part.status == 200


async def test_the_first_page_is_the_gallery(studio: Studio) -> None:
    async with studio.http.get("/", allow_redirects=False) as found:
        assert (found.status, found.headers["Location"]) == (302, "gallery")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/static/../app.py", 404), ("POST", "/api/datasets", 405)],
)
async def test_what_is_not_there_is_said_as_json(
    studio: Studio, method: str, path: str, status: int
) -> None:
    async with studio.http.request(method, path) as found:
        assert found.status == status
        assert (await found.json())["error"]


async def test_pictures_are_kept_and_pages_are_asked_for_again(studio: Studio) -> None:
    async with studio.http.get("/api/faces?dataset=faces") as found:
        assert found.headers["Cache-Control"] == "no-cache"
        [face, *_] = (await found.json())["faces"]
    async with studio.http.get("/static/label.js") as script:
        assert script.headers["Cache-Control"] == "no-cache"
    async with studio.http.get(f"/api/picture?dataset=faces&id={face['id']}") as picture:
        assert "immutable" in picture.headers["Cache-Control"]


async def test_a_request_has_one_id(studio: Studio) -> None:
    async with studio.http.get("/healthz", headers={"X-Request-ID": "find-me"}) as found:
        assert found.headers["X-Request-ID"] == "find-me"
    async with studio.http.get("/healthz", headers={"X-Request-ID": "no good"}) as found:
        assert len(found.headers["X-Request-ID"]) == 32


async def test_a_fault_is_logged_and_not_shown(
    studio: Studio, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("faceloom.studio.datasets.Datasets.get", fault)
    headers = {"X-Request-ID": "find-me"}
    with caplog.at_level(logging.ERROR):
        async with studio.http.get("/api/faces?dataset=faces", headers=headers) as found:
            answer = await found.json()

    assert found.status == 500
    assert answer == {"error": "a fault of the studio; its log tells of find-me"}
    [record] = [one for one in caplog.records if one.name == "faceloom.studio.middleware"]
    assert record.exc_info


async def test_requests_are_counted_by_route(studio: Studio) -> None:
    for path in ("/api/picture?dataset=faces&id=a", "/api/picture?dataset=faces&id=b", "/x", "/y"):
        async with studio.http.get(path):
            pass

    def count(route: str, code: str) -> float | None:
        labels = {"route": route, "method": "GET", "code": code}
        return studio.registry.get_sample_value("faceloom_http_requests_total", labels)

    assert count("/api/picture", "404") == 2
    assert count("unknown", "404") == 2
    assert studio.registry.get_sample_value(
        "faceloom_http_request_seconds_count", {"route": "/api/picture"}
    ) == 2  # fmt: skip
