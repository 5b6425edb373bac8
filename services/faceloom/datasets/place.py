"""The place of a build as a person writes it: a folder, or `s3://bucket/prefix`."""

import re
from dataclasses import dataclass
from pathlib import Path

from faceloom.core.errors import UsageError

_SCHEME = "s3://"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")


@dataclass(frozen=True)
class ObjectUrl:
    """A place in an object store.

    Args:
        bucket: Its bucket.
        prefix: Of the names of its objects, without a slash at either end.
    """

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.prefix}"


Output = Path | ObjectUrl


def output_of(text: str) -> Output:
    """The place that a text names; a folder as an absolute path.

    Raises:
        UsageError: It is not what an object store takes for a name.
    """
    if "://" not in text:
        return Path(text).resolve()
    bucket, _, prefix = text.removeprefix(_SCHEME).rstrip("/").partition("/")
    named = _BUCKET.fullmatch(bucket) and _PREFIX.fullmatch(prefix)
    if not (text.startswith(_SCHEME) and named) or {".", ".."} & set(prefix.split("/")):
        raise UsageError(f"{text!r} is no place for a build; give s3://bucket/prefix")
    return ObjectUrl(bucket, prefix)


def below(place: Output, path: str) -> Output:
    """A place inside of a place."""
    if isinstance(place, ObjectUrl):
        return ObjectUrl(place.bucket, f"{place.prefix}/{path}")
    return place / path


def local_dataset(text: str) -> Path:
    """The folder that a text names.

    Raises:
        UsageError: It lies in an object store.
    """
    if text.startswith(_SCHEME):
        raise UsageError(
            f"{text} is read from a local folder: faceloom dataset fetch {text} DIR, then give DIR"
        )
    return Path(text)
