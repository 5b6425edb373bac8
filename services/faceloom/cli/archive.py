"""`faceloom fetch-archive`: a service's archive put where its engine looks for it, and checked."""

import hashlib
import http.client
import re
from contextlib import closing
from pathlib import Path
from typing import IO, Annotated
from urllib.error import URLError

import typer

from faceloom.core.atomic_files import replacing
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.proxies import open_url
from faceloom.runtime.service import service

_CHUNK = 2**20
# A store that sends nothing for so long is not there.
_SILENCE_SECONDS = 60


def fetch_archive(
    name: Annotated[str, typer.Argument(help="A model service.")],
    source: Annotated[
        str,
        typer.Option(
            envvar="FACELOOM_ARCHIVES_SOURCE", help="Folder or http(s) URL that holds NAME.mar."
        ),
    ],
    sums: Annotated[
        Path,
        typer.Option(envvar="FACELOOM_ARCHIVES_SUMS", help="Digests, as sha256sum prints them."),
    ],
    into: Annotated[Path, typer.Option(help="Folder the archive is put into.")],
) -> None:
    """Copy or download one archive. It appears only when its digest is the expected one.

    Example: [bold]faceloom fetch-archive generator --source /archives --sums SHA256SUMS --into /models[/bold]
    """
    file = f"{service(name).name}.mar"
    expected = _expected(sums, file)
    place = f"{source.rstrip('/')}/{file}"
    try:
        with replacing(into / file) as new:
            found = _copy(place, new)
            if found != expected:
                raise FaceloomError(f"{place} has sha256 {found}; {sums} wants {expected}")
    except (OSError, URLError, http.client.HTTPException) as error:
        raise FaceloomError(f"cannot bring {place} into {into}: {error}") from None
    typer.echo(f"{into / file} {found}")


def _expected(sums: Path, file: str) -> str:
    try:
        lines = sums.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {sums}: {error}") from None
    for line in lines:
        if found := re.fullmatch(rf"([0-9a-f]{{64}}) [ *]{re.escape(file)}", line):
            return found[1]
    raise UsageError(f"{sums} has no digest of {file}; write it with: sha256sum *.mar")


def _copy(place: str, target: Path) -> str:
    """Copies a file or URL; answers with its sha256."""
    digest = hashlib.sha256()
    with closing(_open(place)) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _open(place: str) -> IO[bytes]:
    if place.startswith(("http://", "https://")):
        return open_url(place, timeout=_SILENCE_SECONDS)
    return open(place, "rb")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(fetch_archive)
