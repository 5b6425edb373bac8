"""Objects below one URL, by path: the few requests that builds need, and what may go wrong with them.

Credentials, region and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_REGION, AWS_ENDPOINT_URL_S3 and the others that AWS defines.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from faceloom.core.errors import Unavailable, UsageError
from faceloom.core.proxies import is_here
from faceloom.datasets.place import ObjectUrl

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# A store that is away gets half a minute: the time ends it, not the number.
RETRIES: "RetryConfig" = {"max_retries": 20, "retry_timeout": timedelta(seconds=30)}
# Of a large file, in memory at once: as few requests as a small worker can afford.
_PART_BYTES = 32 * 2**20
_PARTS_AT_ONCE = 2
# Below 500, and yet not the request's fault.
_PASSING = ("408", "429")
_CONNECT_SECONDS = 5
# Between two parts of an answer. A whole object may take any time.
_SILENCE_SECONDS = 30
# Where the machines of AWS ask for credentials that nobody gave.
_INSTANCE_CREDENTIALS = re.compile(r"/latest/(api/token|meta-data/)")


class StoreMisconfigured(UsageError):
    """Nobody that is started like this can use the store."""


class StoreUnavailable(Unavailable):
    """The store does not answer, or not with what was asked for."""

    default_reason = "STORE_UNAVAILABLE"


class Objects:
    """The objects of one place.

    Every method raises `StoreMisconfigured` or `StoreUnavailable` where the store does not do its part.
    """

    def __init__(self, url: ObjectUrl) -> None:
        # Not at the top: only builds on an object store need it.
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        self._url = url
        client: ClientConfig = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=_SILENCE_SECONDS),
            "timeout": timedelta(days=1),
        }
        host = urlsplit(endpoint).hostname
        if host and is_here(host):
            # Takes the place of the environment's proxies, and is not used for that host.
            client |= {"proxy_url": endpoint, "proxy_excludes": host}
        try:
            self._store = S3Store(
                url.bucket, prefix=url.prefix, retry_config=RETRIES, client_options=client
            )
        except BaseError as error:
            said = str(error).partition("\n")[0].rpartition(": ")[2]
            raise StoreMisconfigured(
                f"the AWS_... settings cannot be used for {url}: {said}"
            ) from None

    def read(self, path: str) -> bytes:
        """An object.

        Raises:
            FileNotFoundError: There is none of that name.
        """
        with self._faults(path):
            return bytes(self._store.get(path).bytes())

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """Some bytes of an object.

        Raises:
            FileNotFoundError: There is none of that name.
        """
        with self._faults(path):
            return bytes(self._store.get_range(path, start=start, length=length))

    def write(self, path: str, data: bytes) -> None:
        """Puts an object in place, whatever was there."""
        with self._faults(path):
            self._store.put(path, data)

    def write_once(self, path: str, data: bytes) -> bool:
        """Puts an object in place unless there is one (conditional put); answers whether it did. Of many who
        try, one does.
        """
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._faults(path):
                self._store.put(path, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def upload(self, path: str, file: Path) -> None:
        """Puts a file's bytes in place, a large file's in parts; nobody sees it before all are there."""
        with self._faults(path):
            self._store.put(path, file, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def download(self, path: str, file: Path) -> None:
        """Brings an object into a file.

        Raises:
            FileNotFoundError: There is none of that name.
        """
        with self._faults(path):
            answer = self._store.get(path)
            with file.open("wb") as target:
                for part in answer.stream():
                    target.write(part)

    def list(self, below: str = "") -> Iterator[str]:
        """The paths of all objects whose path begins with the folder `below`; a request for every 1,000."""
        with self._faults(below):
            for page in self._store.list(below or None):
                yield from (found["path"] for found in page)

    def top(self) -> tuple[set[str], set[str]]:
        """Names of the objects and of the folders right here, from one request."""
        with self._faults(""):
            found = self._store.list_with_delimiter()
        objects = {one["path"] for one in found["objects"]}
        return objects, set(found["common_prefixes"])

    def delete(self, paths: Iterable[str]) -> None:
        """Removes objects; those that are not there do not matter."""
        if gone := list(paths):
            with self._faults(gone[0]):
                self._store.delete(gone)

    @contextmanager
    def _faults(self, path: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except AlreadyExistsError:
            raise
        except BaseError as error:
            raise _explained(self._url, str(error)) from None
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise _explained(self._url, str(error)) from None
            raise FileNotFoundError(errno.ENOENT, "no such object", path) from None


def _explained(url: ObjectUrl, text: str) -> UsageError | StoreUnavailable:
    """What a client's error of many lines comes down to."""
    said = text.partition("\n\nDebug source")[0]
    status = re.search(r"status code: (\d{3})", said)
    code = re.search(r"<Code>(\w+)</Code>", said)
    word = code[1] if code else ""
    if _INSTANCE_CREDENTIALS.search(said):
        return StoreMisconfigured(
            f"there are no credentials for {url}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if word == "NoSuchBucket":
        return StoreMisconfigured(
            f"there is no bucket {url.bucket!r}; make it, or check AWS_ENDPOINT_URL_S3"
        )
    if status and status[1] in ("401", "403"):
        return StoreMisconfigured(
            f"access to {url} is denied ({word or status[1]}); check AWS_ACCESS_KEY_ID,"
            " AWS_SECRET_ACCESS_KEY and what they may do"
        )
    if status and status[1] < "500" and status[1] not in _PASSING:
        return StoreMisconfigured(
            f"the store of {url} refuses: {status[1]} {word}".rstrip()
            + "; check AWS_REGION and AWS_ENDPOINT_URL_S3"
        )
    if status:
        return StoreUnavailable(f"the store of {url} answers {status[1]} {word}".rstrip())
    return StoreUnavailable(f"the store of {url} cannot be reached; check AWS_ENDPOINT_URL_S3")
