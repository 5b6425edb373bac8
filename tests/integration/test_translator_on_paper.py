"""What the shipped translator makes of drawings on other paper than it learned from, and of photographs."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from tests import samples
from tests.translators import loaded, refusal, translate

from faceloom.core.errors import InvalidArgument
from faceloom.core.images import decode_rgb
from faceloom.generator.v1 import generator_pb2
from faceloom.runtime.handler import AnyHandler
from faceloom.store.profile import model_folder
from faceloom.training.translator.local_services import Redrawing, Served

Y, X = np.mgrid[-1:1:256j, -1:1:256j]
LIGHT = 150 * (1 + 0.3 * X)


@pytest.fixture(scope="module")
def tiny() -> Iterator[AnyHandler]:
    threads = torch.get_num_threads()
    yield loaded(model_folder("tiny", "translator"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def faces() -> list[samples.Array]:
    served = Served("generator", model_folder("tiny", "generator"))
    answer = served.answer(generator_pb2.GenerateRequest(seeds=range(6)))
    made = generator_pb2.GenerateResponse.FromString(answer).faces
    return [decode_rgb(face.image, "image") for face in made]


@pytest.fixture(scope="module")
def drawings(faces: list[samples.Array]) -> list[samples.Array]:
    redrawing = Redrawing("tiny")
    return [redrawing.lines(face) for face in faces]


def face_of(tiny: AnyHandler, drawing: samples.Array) -> samples.Array:
    (translation,) = translate(tiny, sketch=samples.raw(drawing))
    return decode_rgb(translation.image, "image").astype(int)


def test_the_paper_is_not_in_the_face(tiny: AnyHandler, drawings: list[samples.Array]) -> None:
    drawing = drawings[0]
    right = face_of(tiny, drawing)
    noise = 3 * np.random.RandomState(0).randn(256, 256)
    papers = {
        "246": 246 * (drawing / 255),
        "grey": 60 + 130 * (drawing / 255),
        "photographed": LIGHT * (0.3 + 0.7 * drawing / 255) + noise,
        "white on black": 255.0 - drawing,
    }

    away = {
        name: np.abs(face_of(tiny, paper.clip(0, 255).astype(np.uint8)) - right).mean()
        for name, paper in papers.items()
    }

    assert max(away.values()) < 3, away


def test_white_lines_on_nothing_are_turned(tiny: AnyHandler, drawings: list[samples.Array]) -> None:
    ink = Image.fromarray(255 - drawings[0])
    lines = Image.new("RGB", ink.size, "white")
    lines.putalpha(ink)

    (translation,) = translate(tiny, sketch=samples.file(lines))

    found = decode_rgb(translation.image, "image").astype(int)
    assert np.abs(found - face_of(tiny, drawings[0])).mean() < 3


def test_faces_are_no_drawings_but_drawings_of_them_are(
    tiny: AnyHandler, faces: list[samples.Array], drawings: list[samples.Array]
) -> None:
    for face, drawing in zip(faces, drawings, strict=True):
        error = refusal(tiny, sketch=samples.raw(face))
        assert isinstance(error, InvalidArgument) and "photograph" in error.message
        assert translate(tiny, sketch=samples.raw(drawing))
