"""Labels in a real database: the last word counts, many people write at once, nothing said is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.studio.postgres import postgres

from faceloom.core.errors import Unavailable, UsageError
from faceloom.studio.labels import Label, LabelStore

RECIPE, OTHER = "a" * 64, "b" * 64
KEEP, REJECT = Label.KEEP, Label.REJECT


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without labels."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'labels.db'}"
        return
    found: str = request.getfixturevalue("postgres_url")
    yield found
    with LabelStore(found) as labels:
        for recipe in (RECIPE, OTHER):
            for person in labels.verdicts(recipe).by_person:
                for face in labels.of_person(recipe, person):
                    labels.remove(recipe, face, person)


def test_the_last_word_counts(url: str) -> None:
    with LabelStore(url) as labels:
        labels.put(RECIPE, "one", "Ann", KEEP)
        labels.put(RECIPE, "one", "Ann", REJECT)
        labels.put(OTHER, "one", "Ann", KEEP)

        assert labels.of_person(RECIPE, "Ann") == {"one": REJECT}
        assert labels.of_person(OTHER, "Ann") == {"one": KEEP}
        assert labels.of_person(RECIPE, "Bob") == {}


def test_a_word_taken_back_was_never_said(url: str) -> None:
    with LabelStore(url) as labels:
        labels.put(RECIPE, "one", "Ann", KEEP)
        labels.put(RECIPE, "one", "Bob", KEEP)
        labels.remove(RECIPE, "one", "Ann")
        labels.remove(RECIPE, "one", "Cid")

        assert labels.verdicts(RECIPE).by_person == {"Bob": {KEEP: 1}}


def test_most_decide(url: str) -> None:
    said = {
        "all-keep": {"Ann": KEEP, "Bob": KEEP, "Cid": KEEP},
        "most-reject": {"Ann": REJECT, "Bob": KEEP, "Cid": REJECT},
        "divided": {"Ann": KEEP, "Bob": REJECT},
        "alone": {"Bob": REJECT},
    }
    with LabelStore(url) as labels:
        for face, words in said.items():
            for person, label in words.items():
                labels.put(RECIPE, face, person, label)
        found = labels.verdicts(RECIPE)

    assert found.decided == {"all-keep": KEEP, "most-reject": REJECT, "alone": REJECT}
    assert found.tied == ["divided"]
    assert (found.count(KEEP), found.count(REJECT)) == (1, 2)
    assert found.by_person["Ann"] == {KEEP: 2, REJECT: 1}
    # Pairs: three of the first are the same, of the second one of three, of the third none of one.
    assert found.agreement == pytest.approx(4 / 7)


def test_nobody_agrees_with_nobody(url: str) -> None:
    with LabelStore(url) as labels:
        labels.put(RECIPE, "one", "Ann", KEEP)

        assert labels.verdicts(RECIPE).agreement is None
        assert labels.verdicts(RECIPE, {"two"}).by_person == {}
        assert labels.verdicts(RECIPE, {"one", "two"}).decided == {"one": KEEP}
        assert labels.verdicts(OTHER).decided == {}


# é in one character and in two; the German capital's small form is ss.
SPELLINGS = [
    ("Ann", "ann"),
    ("Ren\u00e9", "Rene\u0301"),
    ("STRAUSS", "Strauß"),
    ("Li Na", "li  na"),
]


@pytest.mark.parametrize(("first", "later"), SPELLINGS)
def test_a_name_in_another_spelling_is_the_same_person(url: str, first: str, later: str) -> None:
    with LabelStore(url) as labels:
        labels.put(RECIPE, "one", first, KEEP)
        labels.put(RECIPE, "two", later, KEEP)
        labels.put(RECIPE, "one", later, REJECT)
        labels.put(RECIPE, "three", first, KEEP)
        labels.remove(RECIPE, "three", later)

        said = {"one": REJECT, "two": KEEP}
        assert labels.of_person(RECIPE, first) == labels.of_person(RECIPE, later) == said
        assert labels.verdicts(RECIPE).by_person == {first: {KEEP: 1, REJECT: 1}}


@pytest.mark.parametrize(("first", "later"), SPELLINGS)
def test_people_who_are_in_a_database_twice_are_one(url: str, first: str, later: str) -> None:
    """As the first versions wrote them."""
    with LabelStore(url) as labels:
        write_rows(url, [("one", later, KEEP, 2), ("one", first, REJECT, 1)])
        write_rows(url, [("two", first, KEEP, 3), ("two", later, REJECT, 4)])
        labels.put(RECIPE, "three", "Bob", KEEP)

        found = labels.verdicts(RECIPE)
        assert found.decided == {"one": KEEP, "two": REJECT, "three": KEEP}
        assert found.by_person == {first: {KEEP: 1, REJECT: 1}, "Bob": {KEEP: 1}}
        assert found.agreement is None
        assert labels.of_person(RECIPE, later) == {"one": KEEP, "two": REJECT}

        labels.put(RECIPE, "one", later, REJECT)
        assert labels.of_person(RECIPE, first) == {"one": REJECT, "two": REJECT}
        labels.remove(RECIPE, "two", first)
        assert labels.of_person(RECIPE, later) == {"one": REJECT}


def write_rows(url: str, rows: list[tuple[str, str, Label, int]]) -> None:
    """Puts rows of face, person, label and time into the table as they are."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    insert = sa.text(
        "INSERT INTO labels (recipe, face, person, label, time)"
        " VALUES (:recipe, :face, :person, :label, :time)"
    ).bindparams(sa.bindparam("time", type_=sa.DateTime(timezone=True)))
    with engine.begin() as connection:
        for face, person, label, second in rows:
            row = {"recipe": RECIPE, "face": face, "person": person, "label": label.value}
            connection.execute(
                insert, {**row, "time": datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)}
            )
    engine.dispose()


def test_many_write_at_once(url: str) -> None:
    people, faces = 8, 40
    with LabelStore(url) as labels, ThreadPoolExecutor(people) as threads:

        def judge(person: int) -> None:
            for face in range(faces):
                labels.put(RECIPE, str(face), str(person), KEEP)

        list(threads.map(judge, range(people)))
        found = labels.verdicts(RECIPE)

    assert found.by_person == {str(person): {KEEP: faces} for person in range(people)}
    assert len(found.decided) == faces


def test_what_was_put_survives_a_kill(url: str) -> None:
    program = (
        "import sys, time\n"
        "from faceloom.studio.labels import Label, LabelStore\n"
        "labels = LabelStore(sys.argv[1])\n"
        f"labels.put({RECIPE!r}, 'one', 'Ann', Label.KEEP)\n"
        "print('put', flush=True)\n"
        "time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"put\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()

    with LabelStore(url) as labels:
        assert labels.of_person(RECIPE, "Ann") == {"one": KEEP}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("labels.db", "labels live in sqlite:///FILE or postgresql://USER@HOST/DATABASE"),
        ("mysql://host/labels", "labels live in sqlite or postgresql, not in mysql"),
        ("sqlite://", "labels in memory would be lost: give sqlite:///FILE"),
        ("sqlite:///:memory:", "labels in memory would be lost: give sqlite:///FILE"),
        ("sqlite+none:///labels.db", "cannot use sqlite+none:///labels.db"),
    ],
)
def test_what_is_no_database(url: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        LabelStore(url)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UsageError, match=r"cannot use sqlite:.*labels\.db for labels: .*Not a directory"
    ):
        LabelStore(f"sqlite:///{tmp_path / 'file' / 'new' / 'labels.db'}")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "host:port"])
def test_a_password_is_not_shown(host: str) -> None:
    with pytest.raises(UsageError) as refused:
        LabelStore(f"postgresql://me:secret@{host}/labels")
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_database_that_stops_is_unavailable() -> None:
    with postgres() as url:
        labels = LabelStore(url)
        labels.put(RECIPE, "one", "Ann", KEEP)
    with labels, pytest.raises(Unavailable):
        labels.put(RECIPE, "two", "Ann", KEEP)
