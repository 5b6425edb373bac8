"""What people said of faces, in a database that many may write at once: SQLite, or PostgreSQL by URL.

A face is known by the recipe of its dataset and its id, so labels stay true when the dataset is moved,
fetched or made again. Everybody has one word on a face, the last one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from faceloom.runtime.errors import Unavailable, UsageError

# Seconds to wait for a file that somebody else writes, or for a server.
_PATIENCE = {"sqlite": {"timeout": 10}, "postgresql": {"connect_timeout": 10}}

_METADATA = sa.MetaData()
_LABELS = sa.Table(
    "labels",
    _METADATA,
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

    def put(self, recipe: str, face: str, person: str, label: Label) -> None:
        """A person's word on a face, in place of the one before.

        Raises:
            Unavailable: The database does not answer.
        """
        row = {"label": label.value, "time": datetime.now(UTC)}
        key = {"recipe": recipe, "face": face, "person": person}
        statement = self._insert(_LABELS).values(**key, **row)
        with self._begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=row))

    def remove(self, recipe: str, face: str, person: str) -> None:
        """Takes a person's word on a face back."""
        same = (_LABELS.c.recipe == recipe, _LABELS.c.face == face, _LABELS.c.person == person)
        with self._begin() as connection:
            connection.execute(_LABELS.delete().where(*same))

    def of_person(self, recipe: str, person: str) -> Mapping[str, Label]:
        """What a person said of a dataset, by face."""
        columns = (_LABELS.c.face, _LABELS.c.label)
        same = (_LABELS.c.recipe == recipe, _LABELS.c.person == person)
        with self._begin() as connection:
            rows = connection.execute(sa.select(*columns).where(*same))
            return {face: Label(label) for face, label in rows}

    def verdicts(self, recipe: str) -> Verdicts:
        """What all said of a dataset."""
        columns = (_LABELS.c.face, _LABELS.c.person, _LABELS.c.label)
        chosen = sa.select(*columns).where(_LABELS.c.recipe == recipe).order_by(*columns)
        words: dict[str, list[Label]] = defaultdict(list)
        by_person: dict[str, Counter[Label]] = defaultdict(Counter)
        with self._begin() as connection:
            for face, person, label in connection.execute(chosen):
                words[face].append(Label(label))
                by_person[person][Label(label)] += 1
        return _verdicts(words, by_person)

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise Unavailable(f"the labels' database: {_first_line(error)}") from None


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
