"""The page of a dataset, and its last part: what the translator makes of sketches and layouts."""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.translators import bytes_of, loaded, results, translate, write_model

from faceloom import datasets
from faceloom.clients.client import Faceloom
from faceloom.clients.in_process import InProcessCaller
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import Internal, Overloaded, ServiceError, Unavailable
from faceloom.datasets.records import FaceRecord
from faceloom.datasets.report import write_report
from faceloom.datasets.translations import translations
from faceloom.runtime.handler import AnyHandler
from faceloom.translator.v1 import translator_pb2 as pb

TITLE = "<h2>Translated back into faces</h2>"
SEED = 0


class Served:
    """A `Caller` of a translator alone, which keeps the requests. It fails when it has an error to raise."""

    def __init__(self, handler: AnyHandler, error: ServiceError | None = None) -> None:
        self._handler, self._error = handler, error
        self.requests: list[pb.TranslateRequest] = []

    async def call(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        assert (service, method) == ("translator", "Translate")
        self.requests.append(pb.TranslateRequest.FromString(request))
        if self._error:
            raise self._error
        (answer,) = results(self._handler, request)
        if isinstance(answer, ServiceError):
            raise answer
        return answer.SerializeToString()

    async def close(self) -> None:
        """Nothing."""


@pytest.fixture
def dataset(training_store: Path) -> Path:
    """128 accepted faces, and none rejected."""
    return training_store / "dataset"


@pytest.fixture
def rows(dataset: Path) -> list[dict[str, Any]]:
    lines = (dataset / "metadata.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def write(dataset: Path, target: Path, caller: Any) -> str:
    asyncio.run(write_report(dataset, target, Faceloom(caller), {}))
    return target.read_text()


def section(dataset: Path, rows: list[dict[str, Any]], caller: Any) -> str:
    faces = [FaceRecord.from_json(row) for row in rows]
    return asyncio.run(translations(datasets.open(dataset), faces, SEED, Faceloom(caller)))


def tables(page: str) -> dict[str, list[list[bytes]]]:
    """The pictures of every table, row by row, by the word before it."""
    found = {}
    for title, table in re.findall(r"<h3>From (\w+)</h3><table>(.*?)</table>", page):
        lines = re.findall(r"<tr title=.*?</tr>", table)
        found[title] = [
            [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", line)]
            for line in lines
        ]
    return found


def test_the_page_ends_with_what_the_translator_makes_of_twelve_faces(
    dataset: Path, rows: list[dict[str, Any]], translator: AnyHandler, tmp_path: Path
) -> None:
    served = Served(translator)

    page = write(dataset, tmp_path / "page.html", served)

    assert re.findall(r"<h2>.*?</h2>", page)[-1] == TITLE
    heads = re.findall(r"<th>(.*?)</th>", page.partition(TITLE)[2])
    same = ["its face", "translation", "seed 1", "seed 2", "seed 3", "seed 4"]
    assert heads == ["sketch", *same, "layout", *same]
    # 128 faces in twelve steps of 10 2/3.
    shown = [rows[index] for index in (0, 10, 21, 32, 42, 53, 64, 74, 85, 96, 106, 117)]
    given = {"sketches": "sketch_file_name", "layouts": "layout_file_name"}
    found = tables(page)
    assert list(found) == list(given)
    for title, column in given.items():
        for row, pictures in zip(shown, found[title], strict=True):
            assert pictures[0] == (dataset / row[column]).read_bytes()
            assert pictures[1] == (dataset / row["file_name"]).read_bytes()
            assert len(pictures) == 7
    # One request for all variants of a picture, so that it is encoded once.
    assert [(one.WhichOneof("style"), one.variants) for one in served.requests] == [
        (None, 0),
        ("style_seed", 4),
    ] * 24


def test_a_row_has_the_plain_translation_and_four_styles(
    dataset: Path, rows: list[dict[str, Any]], translator: AnyHandler
) -> None:
    found = tables(section(dataset, rows[5:6], Served(translator)))

    sketch, layout = (
        image_pb2.Image(
            format=image_pb2.IMAGE_FORMAT_PNG, data=(dataset / rows[5][column]).read_bytes()
        )
        for column in ("sketch_file_name", "layout_file_name")
    )
    order = pb.LABEL_ORDER_CELEBAMASK_HQ
    conditions: dict[str, dict[str, Any]] = {
        "sketches": {"sketch": sketch},
        "layouts": {"layout": pb.Layout(image=layout, order=order)},
    }
    for title, condition in conditions.items():
        (pictures,) = found[title]
        plain, *styled = (
            translate(translator, **condition, **style, output_format=image_pb2.IMAGE_FORMAT_PNG)[0]
            for style in [{}, *({"style_seed": seed} for seed in (1, 2, 3, 4))]
        )
        assert pictures[2:] == bytes_of([plain, *styled])
        assert len(set(pictures)) == 7


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        ([], "The model store here does not know what it was trained on."),
        ([{"name": "faces of others"}], "The model store here does not know"),
        (
            [
                {"dataset_digest": "a", "dataset_seed": 1},
                {"dataset_digest": "b", "dataset_seed": SEED},
            ],
            "Trained on a build with this dataset's seed: it may know these faces.",
        ),
        (
            [{"dataset_digest": "<a>", "dataset_seed": 1}, {}],
            "Trained on another build, <code>&lt;a&gt;</code> (seed 1): it has seen none of these faces.",
        ),
    ],
)
def test_the_page_says_no_more_of_the_training_than_the_store_knows(
    dataset: Path, rows: list[dict[str, Any]], translator: AnyHandler, translator_folder: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[Any], sentence: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))
    copy = tmp_path / "mine" / "translator"
    shutil.copytree(translator_folder, copy)
    description = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps(description | {"sources": sources}))

    page = section(dataset, rows[:1], Served(translator))

    assert f"<code>{description['weights']['sha256']}</code><br>{sentence}" in page


def test_what_another_translator_was_trained_on_is_not_said(
    dataset: Path, rows: list[dict[str, Any]], translator: AnyHandler,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = write_model(tmp_path / "tiny" / "translator", ("sketch",))
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))
    description = json.loads((folder / "model.json").read_text())
    description["sources"] = [{"dataset_digest": "a", "dataset_seed": 1}]
    (folder / "model.json").write_text(json.dumps(description))

    page = section(dataset, rows[:1], Served(translator))

    assert "The model store here does not know what it was trained on." in page


def test_a_translator_of_sketches_shows_sketches(
    dataset: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    handler = loaded(write_model(tmp_path, ("sketch",)))

    assert list(tables(section(dataset, rows[:2], Served(handler)))) == ["sketches"]


def test_a_dataset_without_faces_asks_nobody(dataset: Path, translator: AnyHandler) -> None:
    served = Served(translator)

    assert section(dataset, [], served) == ""
    assert served.requests == []


async def test_without_a_translator_the_page_is_written_without_its_part(
    dataset: Path, training_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(training_store / "store"))
    nobody_there = Faceloom.connect({"translator": "127.0.0.1:1"}, wait=0)
    for number, client in enumerate((Faceloom(InProcessCaller()), nobody_there)):
        target = tmp_path / f"{number}.html"
        async with client as faceloom:
            await write_report(dataset, target, faceloom, {})

        page = target.read_text()
        assert "<h2>Rejected faces</h2>" in page and page.rstrip().endswith("</html>")
        assert TITLE not in page and "$" not in page


@pytest.mark.parametrize(
    "error", [Internal("bug"), Overloaded("later"), Unavailable("dead", reason="ENGINE_DOWN")]
)
def test_a_translator_that_fails_is_an_error(
    dataset: Path, translator: AnyHandler, tmp_path: Path, error: ServiceError
) -> None:
    with pytest.raises(type(error), match=error.message):
        write(dataset, tmp_path / "page.html", Served(translator, error))

    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_page(
    dataset: Path, translator_folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "new" / "page.html"
    command = [sys.executable, "-m", "faceloom.cli.main", "report", str(dataset)]

    done = subprocess.run(
        [*command, "--engine", "inprocess", "--out", str(target)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "FACELOOM_MODEL_STORE": str(translator_folder.parents[1])},
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{target}\n", "")
    assert {title: len(lines) for title, lines in tables(target.read_text()).items()} == {
        "sketches": 12,
        "layouts": 12,
    }
