"""The wire contract: linted, generated, and numbered as it was when it was first published."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from faceloom.common.v1 import engine_pb2, image_pb2, model_pb2
from faceloom.generator.v1 import generator_pb2
from faceloom.pipeline.v1 import pipeline_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.service import services
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2
from faceloom.translator.v1 import translator_pb2

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}

IMAGE = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_RGB8, width=1, height=2, data=b"abc")
IMAGE_HEX = "08 01 10 01 18 02 22 03 61 62 63"
MODEL = model_pb2.ModelInfo(
    name="a", version="b", digest="c", license="d", device="e", processor="f"
)
MODEL_HEX = "0a 01 61 12 01 62 1a 01 63 22 01 64 2a 01 65 32 01 66"
HALF = "00 00 00 3f"
HALF_DOUBLE = "00 00 00 00 00 00 e0 3f"

# Encoded by hand from the protobuf encoding rules: (field << 3 | wire type), lengths, little-endian.
GOLDEN: dict[str, tuple[Message, str]] = {
    "GenerateRequest": (
        generator_pb2.GenerateRequest(
            seeds=[1, 300],
            latents=[
                generator_pb2.Latent(values=[0.5], space=generator_pb2.LATENT_SPACE_W_PLUS),
            ],
            truncation_psi=0.5,
            truncation_cutoff=3,
            noise_mode=generator_pb2.NOISE_MODE_NONE,
            output_format=image_pb2.IMAGE_FORMAT_WEBP,
            return_latents=True,
            model_version="1",
        ),
        f"0a 03 01 ac 02  12 08 0a 04 {HALF} 10 03  1d {HALF}  20 03  28 03  30 06  38 01  42 01 31",
    ),
    "GenerateResponse": (
        generator_pb2.GenerateResponse(
            faces=[generator_pb2.Face(seed=5, image=IMAGE, z=[0.5], w=[0.5])], model=MODEL
        ),
        f"0a 1b 08 05 12 0b {IMAGE_HEX} 1a 04 {HALF} 22 04 {HALF}  12 12 {MODEL_HEX}",
    ),
    "ClassifyRequest": (
        quality_pb2.ClassifyRequest(images=[IMAGE], model_version="1"),
        f"0a 0b {IMAGE_HEX}  12 01 31",
    ),
    "ClassifyResponse": (
        quality_pb2.ClassifyResponse(
            qualities=[quality_pb2.Quality(score=0.5, accepted=True)], threshold=0.5, model=MODEL
        ),
        f"0a 0b 09 {HALF_DOUBLE} 10 01  11 {HALF_DOUBLE}  1a 12 {MODEL_HEX}",
    ),
    "SketchRequest": (
        sketch_pb2.SketchRequest(
            images=[IMAGE],
            style=sketch_pb2.SKETCH_STYLE_CLASSICAL,
            output_format=image_pb2.IMAGE_FORMAT_GRAY8,
            model_version="1",
        ),
        f"0a 0b {IMAGE_HEX}  10 02  18 02  22 01 31",
    ),
    "SketchResponse": (
        sketch_pb2.SketchResponse(sketches=[IMAGE], model=MODEL),
        f"0a 0b {IMAGE_HEX}  12 12 {MODEL_HEX}",
    ),
    "SegmentRequest": (
        segmentation_pb2.SegmentRequest(
            images=[IMAGE], output_format=image_pb2.IMAGE_FORMAT_LABELS8, model_version="1"
        ),
        f"0a 0b {IMAGE_HEX}  10 03  1a 01 31",
    ),
    "SegmentResponse": (
        segmentation_pb2.SegmentResponse(layouts=[IMAGE], class_names=["a"], model=MODEL),
        f"0a 0b {IMAGE_HEX}  12 01 61  1a 12 {MODEL_HEX}",
    ),
    "TranslateRequest of a sketch in seeded styles": (
        translator_pb2.TranslateRequest(
            sketch=IMAGE,
            variants=5,
            style_seed=300,
            mixed_layers=[1, 300],
            alpha=0.5,
            truncation_psi=0.5,
            output_format=image_pb2.IMAGE_FORMAT_PNG,
            return_latents=True,
            model_version="1",
        ),
        f"0a 0b {IMAGE_HEX}  18 05  20 ac 02  3a 03 01 ac 02  45 {HALF}  4d {HALF}  50 04  58 01"
        "  62 01 31",
    ),
    "TranslateRequest of a layout in a style by value": (
        translator_pb2.TranslateRequest(
            layout=translator_pb2.Layout(image=IMAGE, order=translator_pb2.LABEL_ORDER_BISENET),
            style_latents=translator_pb2.StyleLatents(
                latents=[generator_pb2.Latent(values=[0.5], space=generator_pb2.LATENT_SPACE_W)]
            ),
        ),
        f"12 0f 0a 0b {IMAGE_HEX} 10 02  2a 0a 0a 08 0a 04 {HALF} 10 02",
    ),
    "TranslateRequest in the style of a face": (
        translator_pb2.TranslateRequest(style_reference=IMAGE),
        f"32 0b {IMAGE_HEX}",
    ),
    "TranslateResponse": (
        translator_pb2.TranslateResponse(
            translations=[translator_pb2.Translation(image=IMAGE, w_plus=[0.5])], model=MODEL
        ),
        f"0a 13 0a 0b {IMAGE_HEX} 12 04 {HALF}  12 12 {MODEL_HEX}",
    ),
    "CreateBuildRequest": (
        pipeline_pb2.CreateBuildRequest(
            request_id="r",
            spec=pipeline_pb2.BuildSpec(candidates=256, seed=7, truncation_psi=0.5),
            output="o",
            shards=4,
            jobs=2,
            retry_failed=True,
        ),
        f"0a 01 72  12 0a 08 80 02 18 07 25 {HALF}  1a 01 6f  20 04  28 02  30 01",
    ),
    "EngineBatch": (
        engine_pb2.EngineBatch(
            calls=[
                engine_pb2.EngineCall(
                    method="a", request=b"b", deadline=Timestamp(seconds=5), request_id="c"
                )
            ]
        ),
        "0a 0d 0a 01 61 12 01 62 1a 02 08 05 22 01 63",
    ),
    "EngineBatchResult": (
        engine_pb2.EngineBatchResult(
            results=[engine_pb2.EngineResult(response=b"a"), engine_pb2.EngineResult(error=b"b")],
            seconds=0.5,
        ),
        f"0a 03 0a 01 61  0a 03 12 01 62  11 {HALF_DOUBLE}",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_message_is_the_bytes_it_always_was(name: str) -> None:
    message, golden = GOLDEN[name]
    data = bytes.fromhex(golden)

    assert message.SerializeToString(deterministic=True).hex(" ") == data.hex(" ")
    assert type(message).FromString(data) == message


@pytest.mark.parametrize(
    ("enum", "values"),
    [
        (image_pb2.ImageFormat, "UNSPECIFIED RGB8 GRAY8 LABELS8 PNG JPEG WEBP"),
        (generator_pb2.NoiseMode, "UNSPECIFIED CONST RANDOM NONE"),
        (generator_pb2.LatentSpace, "UNSPECIFIED Z W W_PLUS"),
        (sketch_pb2.SketchStyle, "UNSPECIFIED LEARNED CLASSICAL"),
        (translator_pb2.LabelOrder, "UNSPECIFIED CELEBAMASK_HQ BISENET"),
        (
            pipeline_pb2.BuildState,
            "UNSPECIFIED PENDING RUNNING FINALIZING SUCCEEDED FAILED CANCELLED",
        ),
    ],
)
def test_an_enum_has_the_numbers_it_always_had(enum: Any, values: str) -> None:
    first = enum.Name(0)
    prefix = first.removesuffix("UNSPECIFIED")

    assert [enum.Value(prefix + name) for name in values.split()] == list(
        range(len(values.split()))
    )


def test_the_rpcs_are_the_ones_that_clients_call() -> None:
    methods = {name: facts.methods for name, facts in services().items()}

    assert methods == {
        "generator": ["Generate"],
        "quality": ["Classify"],
        "segmentation": ["Segment"],
        "sketch": ["Sketch"],
        "translator": ["Translate"],
    }


def test_every_proto_service_is_served() -> None:
    described = set()
    for proto in (ROOT / "protos/faceloom").rglob("*.proto"):
        module = ".".join(proto.relative_to(ROOT / "protos").with_suffix("").parts) + "_pb2"
        described |= {
            service.full_name
            for service in importlib.import_module(module).DESCRIPTOR.services_by_name.values()
        }

    fronts = {facts.service for facts in services().values()}

    assert described - fronts == {"faceloom.pipeline.v1.PipelineService"}
    assert fronts <= described


def test_protos_are_lint_clean() -> None:
    done = subprocess.run(
        [BIN / "buf", "lint"], cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_stubs_are_what_the_protos_generate() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "protos/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )

    assert done.returncode == 0, done.stderr
