"""What people said of faces, in a database that many may write at once: SQLite, or PostgreSQL by URL.

A face is known by its source (what makes it, but its seed) and its id, so labels stay true when a dataset is
moved, fetched, made again or grows, and hold in every dataset that has the face. Everybody has one word on a
face, the last one. Who writes a name in another way (Ann or ann, é in one character or in two) is the same
person; the first spelling is kept.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Self
from unicodedata import normalize

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from faceloom.core.errors import Unavailable, UsageError

# Seconds to wait for a file that somebody else writes, or for a server.
_PATIENCE = {"sqlite": {"timeout": 10}, "postgresql": {"connect_timeout": 10}}

_METADATA = sa.MetaData()
_LABELS = sa.Table(
    "labels",
    _METADATA,
    # The digest of the source; of datasets of schema 1 that is their recipe's, hence the name.
    sa.Column("recipe", sa.String(64), primary_key=True),
    sa.Column("face", sa.String(16), primary_key=True),
    sa.Column("person", sa.String(64), primary_key=True),
    sa.Column("label", sa.String(6), nullable=False),
    # For whoever looks at the table; afterwards it cannot be found out.
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),
)
_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Label(StrEnum):
    """A person's word on a face; what `faceloom train quality` learns from."""

    KEEP = "keep"
    REJECT = "reject"


@dataclass(frozen=True)
class Verdicts:
    """What all people together said of a dataset.

    Args:
        decided: The word of most, by face.
        tied: Faces of which as many said keep as reject.
        by_person: How often each person said what.
        agreement: Of all pairs of words on one face, how many are the same; nothing without pairs.
    """

    decided: Mapping[str, Label]
    tied: Sequence[str]
    by_person: Mapping[str, Counter[Label]]
    agreement: float | None

    def count(self, label: Label) -> int:
        """Of how many faces most said so."""
        return sum(one is label for one in self.decided.values())


class LabelStore:
    """The labels of all datasets. Its methods wait for the database; call them from a thread.

    Args:
        url: `sqlite:///file` or `postgresql://user@host/database`.
        new: Make what is not there yet; else that is an error.

    Raises:
        UsageError: The URL is none of these, or there is no such database.
    """

    def __init__(self, url: str, new: bool = True) -> None:
        where = _place(url)
        kind = where.get_backend_name()
        shown = where.render_as_string(hide_password=True)
        self._insert = _INSERTS[kind]
        # A look at a file that is not there would make it.
        file = Path(where.database or "") if kind == "sqlite" else None
        try:
            if file and new:
                file.parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(where, connect_args=_PATIENCE[kind], pool_pre_ping=True)
            if new:
                _METADATA.create_all(self._engine)
            elif (file and not file.exists()) or not sa.inspect(self._engine).has_table("labels"):
                raise UsageError(f"there are no labels in {shown}; `faceloom studio` is the place")
        except (OSError, SQLAlchemyError) as error:
            raise UsageError(f"cannot use {shown} for labels: {_first_line(error)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def put(self, source: str, face: str, person: str, label: Label) -> None:
        """A person's word on a face, in place of the one before.

        Raises:
            Unavailable: The database does not answer.
        """
        row = {"label": label.value, "time": datetime.now(UTC)}
        with self._begin() as connection:
            first, *others = _spellings(connection, source, person) or [person]
            key = {"recipe": source, "face": face, "person": first}
            statement = self._insert(_LABELS).values(**key, **row)
            connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=row))
            if others:
                connection.execute(_LABELS.delete().where(*_words(source, others, face)))

    def remove(self, source: str, face: str, person: str) -> None:
        """Takes a person's word on a face back."""
        with self._begin() as connection:
            names = _spellings(connection, source, person)
            connection.execute(_LABELS.delete().where(*_words(source, names, face)))

    def of_person(self, source: str, person: str) -> Mapping[str, Label]:
        """What a person said of the faces of a source, by face."""
        chosen = sa.select(_LABELS.c.face, _LABELS.c.label).order_by(_LABELS.c.time)
        with self._begin() as connection:
            names = _spellings(connection, source, person)
            rows = connection.execute(chosen.where(*_words(source, names)))
            return {face: Label(label) for face, label in rows}

    def verdicts(self, source: str, among: Container[str] | None = None) -> Verdicts:
        """What all said of the faces of a source, or of those among them."""
        columns = (_LABELS.c.face, _LABELS.c.person, _LABELS.c.label)
        chosen = sa.select(*columns).where(_LABELS.c.recipe == source).order_by(_LABELS.c.time)
        names: dict[str, str] = {}
        last: dict[tuple[str, str], Label] = {}
        with self._begin() as connection:
            for face, person, label in connection.execute(chosen):
                first = names.setdefault(_key(person), person)
                if among is None or face in among:
                    last[face, first] = Label(label)
        words: dict[str, list[Label]] = defaultdict(list)
        by_person: dict[str, Counter[Label]] = defaultdict(Counter)
        for (face, person), word in sorted(last.items()):
            words[face].append(word)
            by_person[person][word] += 1
        return _verdicts(words, by_person)

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise Unavailable(f"the labels' database: {_first_line(error)}") from None


@lru_cache
def _key(person: str) -> str:
    """What all spellings of a name have in common: caseless matching as the Unicode Standard defines it."""
    folded = normalize("NFC", person).casefold()
    return " ".join(normalize("NFC", folded).split())


def _spellings(connection: sa.Connection, source: str, person: str) -> list[str]:
    """How a person's name was written in the labels of a source, what came first at the front."""
    first = sa.func.min(_LABELS.c.time)
    chosen = sa.select(_LABELS.c.person).where(_LABELS.c.recipe == source)
    rows = connection.execute(chosen.group_by(_LABELS.c.person).order_by(first, _LABELS.c.person))
    return [name for (name,) in rows if _key(name) == _key(person)]


def _words(
    source: str, names: Sequence[str], face: str | None = None
) -> list[sa.ColumnElement[bool]]:
    """Picks the words of a person, on all faces or on one."""
    same = [_LABELS.c.recipe == source, _LABELS.c.person.in_(names)]
    return same if face is None else [*same, _LABELS.c.face == face]


def _place(url: str) -> sa.URL:
    """The database that a URL names. What it says is not repeated: there may be a password in it."""
    try:
        where = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError(
            "labels live in sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    kind = where.get_backend_name()
    if kind not in _INSERTS:
        raise UsageError(f"labels live in sqlite or postgresql, not in {kind}")
    if kind == "postgresql":
        return where.set(drivername="postgresql+psycopg")
    if where.database in (None, "", ":memory:"):
        raise UsageError("labels in memory would be lost: give sqlite:///FILE")
    return where


def _verdicts(
    words: Mapping[str, Sequence[Label]], by_person: Mapping[str, Counter[Label]]
) -> Verdicts:
    decided: dict[str, Label] = {}
    tied = []
    pairs = same = 0
    for face, said in words.items():
        keep = said.count(Label.KEEP)
        reject = len(said) - keep
        if keep == reject:
            tied.append(face)
        else:
            decided[face] = Label.KEEP if keep > reject else Label.REJECT
        pairs += len(said) * (len(said) - 1) // 2
        same += (keep * (keep - 1) + reject * (reject - 1)) // 2
    return Verdicts(decided, tied, by_person, same / pairs if pairs else None)


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).partition("\n")[0]
