"""Imported networks see what the projects that published them show them, unless the import said otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from tests import samples
from tests.imported import served
from tests.published import random_psp
from tests.reference import bisenet, preprocessing
from tests.reference import psp as plain
from tests.translators import asked, labels8, loaded, map_of, results
from torch import Tensor

from faceloom.checkpoints.import_result import Answers
from faceloom.checkpoints.importer import import_model
from faceloom.core.errors import UsageError
from faceloom.layouts.labels import BISENET_TO_CELEBA, CELEBA_TO_BISENET
from faceloom.segmentation.checkpoint import FORMATS as SEGMENTATION
from faceloom.translator.checkpoint import FORMATS as TRANSLATORS
from faceloom.translator.v1 import translator_pb2 as pb

SIDE = 64


def photograph(height: int, width: int) -> samples.Array:
    """Smooth, with edges and grain. [height, width, 3]"""
    small = PilImage.fromarray(samples.face(3, 48, 48))
    large = np.asarray(small.resize((width, height), PilImage.Resampling.BICUBIC)).astype(int)
    grain = np.random.RandomState(1).randint(-25, 26, large.shape)
    return (large + grain).clip(0, 255).astype(np.uint8)


def segmentation(tmp_path: Path, way: str | None = None) -> tuple[Any, dict[str, Tensor]]:
    state = bisenet.random_state(seed=3)
    torch.save(state, tmp_path / "net")
    found = SEGMENTATION["zllrunning"](tmp_path / "net", Answers(preprocessing=way))
    return served("segmentation", found, tmp_path / "model"), state


@pytest.mark.parametrize("size", [(1024, 1024), (640, 480)])
def test_layouts_are_those_of_face_parsing(tmp_path: Path, size: tuple[int, int]) -> None:
    """Also where a face fills the picture, or is small in it: upstream looks once."""
    handler, state = segmentation(tmp_path)
    picture = photograph(*size)
    request = samples.with_images("segmentation", samples.raw(picture))

    work = handler.decode(request)
    (scores,) = handler.outputs(work.key, work.samples)
    (layout,) = handler.encode(request, handler.predict(work.key, work.samples)).layouts

    theirs = bisenet.scores(state, preprocessing.face_parsing(picture))
    assert np.abs(scores - theirs.numpy()).max() <= 1e-4 * (theirs.max() - theirs.min())
    ids = np.frombuffer(layout.data, np.uint8).reshape(layout.height, layout.width)
    assert ids.shape == ((512, 512) if size[0] == size[1] else (512, 384))
    if size[0] == size[1]:
        expected = BISENET_TO_CELEBA[theirs.argmax(0).numpy()]
        assert len(np.unique(expected)) > 3 and (ids != expected).mean() <= 1e-5


def test_segmentation_in_the_way_of_this_project(tmp_path: Path) -> None:
    handler, state = segmentation(tmp_path, "faceloom")
    picture = photograph(1024, 1024)
    work = handler.decode(samples.with_images("segmentation", samples.raw(picture)))

    (scores,) = handler.outputs(work.key, work.samples)

    fitted = PilImage.fromarray(picture).resize((512, 512), PilImage.Resampling.LANCZOS)
    theirs = bisenet.scores(state, preprocessing.face_parsing(np.asarray(fitted)))
    assert np.abs(scores - theirs.numpy()).max() <= 1e-4 * (theirs.max() - theirs.min())


def translator(
    tmp_path: Path, channels: int, options: dict[str, Any] | None = None, **answers: Any
) -> tuple[Any, plain.PSp]:
    net = random_psp(channels)
    content = plain.checkpoint(net)
    content["opts"] |= options or {}
    torch.save(content, tmp_path / "psp.pt")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FACELOOM_MODEL_STORE", str(tmp_path))
        model = import_model(
            "translator", "psp", tmp_path / "psp.pt", "mine", "NC", Answers(**answers)
        )
    return loaded(model.folder), net


def assert_encodes(handler: Any, net: plain.PSp, picture: Tensor, **fields: Any) -> None:
    """The latents of a request are those of that picture, shown to upstream's network."""
    (answer,) = results(handler, asked(return_latents=True, **fields))
    assert isinstance(answer, pb.TranslateResponse), answer
    theirs = plain.w_plus_of(net, picture)
    ours = torch.tensor(answer.translations[0].w_plus).view(theirs.shape)
    assert (ours - theirs).abs().max() <= 1e-4 * (theirs.max() - theirs.min())


GREY = samples.page(2, 200, 320) // 2 + np.uint8(60)


def test_drawings_are_squashed(tmp_path: Path) -> None:
    """And their paper stays what it is."""
    handler, net = translator(tmp_path, 1)

    assert_encodes(handler, net, preprocessing.psp_sketch(GREY, SIDE), sketch=samples.raw(GREY))


@pytest.mark.parametrize("order", ["celebamask_hq", "bisenet"])
def test_layouts_are_squashed_as_grey(tmp_path: Path, order: str) -> None:
    handler, net = translator(tmp_path, 19, label_order=order)
    ids = (
        np.random.RandomState(0)
        .randint(0, 19, (10, 8))
        .astype(np.uint8)
        .repeat(20, 0)
        .repeat(12, 1)
    )
    theirs = CELEBA_TO_BISENET[ids] if order == "bisenet" else ids

    assert_encodes(
        handler, net, preprocessing.psp_layout(theirs, SIDE), layout=map_of(labels8(ids))
    )


def test_faces_are_squashed(tmp_path: Path) -> None:
    handler, net = translator(tmp_path, 3)
    face = photograph(150, 90)

    assert_encodes(handler, net, preprocessing.psp_face(face, SIDE), face=samples.raw(face))


SUPER = {"dataset_type": "celebs_super_resolution"}


@pytest.mark.parametrize(
    ("options", "said", "factor"),
    [
        ({"resize_factors": "4"}, None, 4),
        ({"resize_factors": "1,2,4,8"}, 8, 8),
        ({"resize_factors": "1,2"}, 1, 1),
        ({}, 16, 16),
    ],
)
def test_super_resolution_sees_smaller_faces(
    tmp_path: Path, options: dict[str, str], said: int | None, factor: int
) -> None:
    handler, net = translator(tmp_path, 3, SUPER | options, resize_factor=said)
    face = photograph(96, 96)

    assert_encodes(handler, net, preprocessing.psp_face(face, SIDE, factor), face=samples.raw(face))


@pytest.mark.parametrize(
    ("options", "answers", "says"),
    [
        (SUPER | {"resize_factors": "1,8"}, {}, "1, 8 times smaller: say with --resize-factor"),
        (SUPER, {}, "1, 2, 4, 8, 16, 32 times smaller"),
        (SUPER | {"resize_factors": "1,8"}, {"resize_factor": 4}, "learned 1, 8"),
        ({}, {"resize_factor": 4}, "learned none"),
        (SUPER, {"resize_factor": 4, "preprocessing": "faceloom"}, "only upstream's way"),
    ],
)
def test_a_factor_that_nobody_knows_is_asked_for(
    tmp_path: Path, options: dict[str, str], answers: dict[str, Any], says: str
) -> None:
    content = plain.checkpoint(random_psp(3))
    content["opts"] |= options
    torch.save(content, tmp_path / "psp.pt")

    with pytest.raises(UsageError, match=says):
        TRANSLATORS["psp"](tmp_path / "psp.pt", Answers(**answers))


def test_a_translator_in_the_way_of_this_project_keeps_shapes_and_whitens_paper(
    tmp_path: Path,
) -> None:
    handler, _ = translator(tmp_path, 1, preprocessing="faceloom")
    page = samples.page(2, 200, 320)
    square = np.full((320, 320), 255, np.uint8)
    square[60:260] = page
    scan = (page // 2 + 100).astype(np.uint8)

    answers = results(
        handler,
        *(asked(sketch=samples.raw(each), return_latents=True) for each in (page, square, scan)),
    )

    wanted, centred, whitened = (answer.translations[0].w_plus for answer in answers)
    assert wanted == centred
    assert np.abs(np.subtract(whitened, wanted)).max() < 0.05 * np.ptp(wanted)


def test_what_is_said_of_other_kinds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--preprocessing says nothing about generator"):
        import_model(
            "generator",
            "nvlabs",
            tmp_path / "no.pkl",
            "mine",
            None,
            Answers(preprocessing="faceloom"),
        )
