"""An archive reaches its engine whole, or not at all."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from faceloom.cli.archive import fetch_archive
from faceloom.core.errors import FaceloomError, UsageError

CONTENT = bytes(range(256)) * 8192


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with the generator's archive and its digest."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "generator.mar").write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    (store / "SHA256SUMS").write_text(f"{'0' * 64}  quality.mar\n{digest}  generator.mar\n")
    return store


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """The store over HTTP."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Where the engine looks."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_from_a_folder(folder: Path, models: Path) -> None:
    fetch_archive("generator", str(folder), folder / "SHA256SUMS", models)

    assert (models / "generator.mar").read_bytes() == CONTENT


def test_from_an_object_store(url: str, folder: Path, models: Path) -> None:
    fetch_archive("generator", url, folder / "SHA256SUMS", models)

    assert (models / "generator.mar").read_bytes() == CONTENT


def test_other_bytes_are_refused(folder: Path, models: Path) -> None:
    (folder / "generator.mar").write_bytes(CONTENT[:-1])

    with pytest.raises(FaceloomError, match=r"generator\.mar has sha256 .* wants"):
        fetch_archive("generator", str(folder), folder / "SHA256SUMS", models)
    assert list(models.iterdir()) == []


def test_an_archive_that_is_not_there(url: str, folder: Path, models: Path) -> None:
    (folder / "generator.mar").unlink()

    for source in (url, str(folder), "http://127.0.0.1:1"):
        with pytest.raises(FaceloomError, match="cannot bring"):
            fetch_archive("generator", source, folder / "SHA256SUMS", models)
    assert list(models.iterdir()) == []


def test_an_archive_without_a_digest(folder: Path, models: Path) -> None:
    with pytest.raises(UsageError, match=r"no digest of sketch\.mar"):
        fetch_archive("sketch", str(folder), folder / "SHA256SUMS", models)
    with pytest.raises(UsageError, match="cannot read"):
        fetch_archive("sketch", str(folder), folder / "missing", models)
