"""Commands of one service: what they refuse in one line, and how they ask a model that takes little."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests import samples
from tests.commands import Done, faceloom
from tests.imported import served
from tests.reference.stylegan2 import random_network
from tests.reference.stylegan2_files import rosinality_converted
from tests.stores import put_import

from faceloom.checkpoints.import_result import Answers
from faceloom.cli.one_service import OneService, ServiceCall
from faceloom.cli.options import EngineKind
from faceloom.cli.outcome import CommandOutcome
from faceloom.clients.client import Faceloom
from faceloom.core.errors import (
    TOO_MANY_ITEMS,
    FaceloomError,
    InvalidArgument,
    ServiceError,
    TooLarge,
    Unavailable,
)
from faceloom.generator.checkpoint import FORMATS
from faceloom.generator.v1 import generator_pb2 as pb

HERE = ("--engine", "inprocess")
DIM, LAYERS = 100, 10


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models as imports: `mine`, and `slow`, of which one call may ask for one thing (a generator
    for three)."""
    store = tmp_path_factory.mktemp("store")
    for kind in ("generator", "quality", "sketch", "segmentation", "translator"):
        put_import(store, kind, "mine")
        most = 3 if kind == "generator" else 1
        put_import(store, kind, "slow", limits={"seconds_per_item": 9.0, "max_items": most})
    return store


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"face{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        Image.fromarray(samples.face(number)).save(file)
    return files


def assert_refused(done: Done, says: str, code: int = 2) -> None:
    assert done.code == code, done.err
    assert says in done.err
    assert done.err.startswith("faceloom: ") and done.err.count("\n") == 1
    assert done.out == ""


def generate(store: Path, out: Path, *arguments: object) -> Done:
    return faceloom("generate", *HERE, "--out", out, "--model", "mine", *arguments, store=store)


@pytest.mark.parametrize("command", ["generate", "classify", "sketch", "segment", "translate"])
def test_raw_outputs_need_the_network_in_this_process(
    store: Path, pictures: list[Path], tmp_path: Path, command: str
) -> None:
    arguments: list[object] = [] if command == "generate" else [pictures[0]]
    arguments += [] if command == "classify" else ["--out", tmp_path / "out"]
    arguments += ["--task", "face"] if command == "translate" else []

    done = faceloom(command, *arguments, "--raw", tmp_path / "raw.npy", store=store)

    assert_refused(done, "add --engine inprocess")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["generate", "classify", "sketch", "segment", "translate"])
def test_a_model_that_is_not_there(
    store: Path, pictures: list[Path], tmp_path: Path, command: str
) -> None:
    arguments: list[object] = [] if command == "generate" else [pictures[0]]
    arguments += [] if command == "classify" else ["--out", tmp_path / "out"]
    arguments += ["--task", "face"] if command == "translate" else []

    done = faceloom(command, *arguments, *HERE, "--model", "mine/2", store=store)

    assert_refused(done, "model 'mine/2'; there are mine/1, slow/1")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds", "1", "--latents", "l.npy"], "--seeds or --latents, not both"),
        (["--space", "w"], "--space says what --latents are"),
        (["--seeds", "1", "--space", "z"], "--space says what --latents are"),
        (["--seeds", "1", "--cutoff", "11"], "--cutoff: truncation_cutoff is 11; the model has 10"),
        (["--seeds", "1", "--psi", "7"], "--psi: truncation_psi is 7.0; give 0 to 1.5"),
        (["--seeds", "1", "--psi", "nan"], "--psi: truncation_psi is nan"),
    ],
)
def test_options_that_make_no_sense(
    store: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    assert_refused(generate(store, tmp_path / "out", *arguments), says)
    assert not (tmp_path / "out").exists()


def npy(array: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, array)

    return write


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, np.zeros((1, DIM)))


def cut(path: Path) -> None:
    npy(np.zeros((1, DIM)))(path)
    path.write_bytes(path.read_bytes()[:-8])


def header(text: str) -> Callable[[Path], None]:
    """A file of that header and nothing else."""

    def write(path: Path) -> None:
        line = text.encode().ljust(117) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line)

    return write


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 512)}"
NO_NPY = "is not a .npy file of numbers"
SHAPES = "z and w are [N, dim], w+ is [N, layers, dim]"
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a text": (lambda path: path.write_text("0.1 0.2\n"), NO_NPY),
    "nothing": (lambda path: path.write_bytes(b""), NO_NPY),
    "an archive": (archive, "has no array w, which NVlabs' projector writes"),
    "a part": (cut, NO_NPY),
    "objects": (npy(np.array([{}], object)), NO_NPY),
    "a claim of terabytes": (header(HUGE), NO_NPY),
    "no header": (header("{'descr': '<f4', 'shape': ("), NO_NPY),
    "parentheses": (header("(" * 117), NO_NPY),
    "whole numbers": (npy(np.zeros((1, DIM), int)), "holds int64; give float32 or float64"),
    "half precision": (npy(np.zeros((1, DIM), np.float16)), "holds float16; give float32 or fl"),
    "one vector": (npy(np.zeros(DIM)), f"is [100]; {SHAPES}"),
    "a number": (npy(np.float64(1)), f"is []; {SHAPES}"),
    "too many axes": (npy(np.zeros((1, 1, LAYERS, DIM))), f"is [1, 1, 10, 100]; {SHAPES}"),
    "NaN": (npy(np.full((1, DIM), np.nan)), "holds NaN, infinity or numbers beyond float32"),
    "infinity": (npy(np.full((1, DIM), np.inf)), "holds NaN, infinity or numbers beyond float32"),
    "large numbers": (npy(np.full((1, DIM), 1e300)), "holds NaN, infinity or numbers beyond"),
    "short ones": (npy(np.zeros((2, 99))), "--latents: 99 values; 100 finite ones are needed"),
    "few layers": (npy(np.zeros((2, 8, DIM))), "--latents: 800 values; 1000 finite ones are"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_are_no_latents(store: Path, tmp_path: Path, name: str) -> None:
    write, says = FILES[name]
    write(tmp_path / "latents.npy")

    done = generate(store, tmp_path / "out", "--latents", tmp_path / "latents.npy")

    assert_refused(done, says)
    assert not (tmp_path / "out").exists()


def test_latents_that_are_not_there_or_are_none(store: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "latents.npy"
    assert_refused(generate(store, out, "--latents", file), "No such file")
    assert_refused(generate(store, out, "--latents", tmp_path), "Is a directory")
    np.save(file, np.zeros((0, DIM)))
    assert_refused(generate(store, out, "--latents", file), "latents.npy is")
    np.save(file, np.zeros((1, LAYERS, DIM)))
    done = generate(store, out, "--latents", file, "--space", "w")
    assert_refused(done, "is [1, 10, 100], which is w+: leave out --space")


def test_pictures_of_different_sizes_make_no_array(store: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file, width in zip(files, (256, 300), strict=True):
        Image.fromarray(samples.face(1, width, 256)).save(file)

    raw = tmp_path / "raw.npy"
    command = ["sketch", *files, *HERE, "--model", "mine", "--raw", raw]
    done = faceloom(*command, "--out", tmp_path / "out", store=store)

    assert done.code == 2
    assert "outputs of 2 sizes do not fit into one array, [256, 256] and [256, 300]" in done.err
    assert len(done.out.splitlines()) == 2
    assert not raw.exists()


def test_a_place_that_raw_outputs_cannot_be_written_to(store: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw.npy"
    raw.mkdir()

    done = generate(store, tmp_path / "out", "--seeds", "1", "--raw", raw)

    assert_refused(done, f"cannot write {raw}: ", code=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw.npy"]


def test_raw_outputs_have_a_row_for_every_file_or_are_not_written(
    store: Path, pictures: list[Path], tmp_path: Path
) -> None:
    pictures[1].write_bytes(pictures[1].read_bytes()[:100])
    raw = tmp_path / "raw.npy"

    done = faceloom("classify", *pictures, *HERE, "--model", "mine", "--raw", raw, store=store)

    assert done.code == 1
    assert done.out.count("\n") == 2
    assert f"{raw} is not written" in done.err
    assert not raw.exists()


def test_a_model_that_takes_few_at_once_is_asked_for_few(
    store: Path, pictures: list[Path], tmp_path: Path
) -> None:
    for model in ("mine", "slow"):
        told = [*HERE, "--model", model, "--json"]
        faces = [tmp_path / model / f"seed{seed:07d}.png" for seed in range(4)]
        out = ["--out", tmp_path / model]
        made = faceloom("generate", "--seeds", "0-3", *told, *out, store=store)
        scored = faceloom("classify", *faces, *told, store=store)
        drawn = faceloom("sketch", *pictures[:2], *told, *out, store=store)
        laid = faceloom(
            "segment", *pictures[:2], *told, "--out", tmp_path / f"l{model}", store=store
        )
        for done in (made, scored, drawn, laid):
            assert done.code == 0, done.err
        assert json.loads(made.out)["files"] == [*map(str, faces)]
        assert len(json.loads(scored.out)["qualities"]) == 4
        assert len(json.loads(laid.out)["files"]) == 2

    for file in sorted((tmp_path / "mine").iterdir()):
        assert (tmp_path / "slow" / file.name).read_bytes() == file.read_bytes()


def test_large_faces_are_refused_as_too_many(tmp_path: Path) -> None:
    net = random_network((1,) * 9, 8, 1)
    torch.save(rosinality_converted(net), tmp_path / "net.pt")
    handler = served("generator", FORMATS["rosinality"](tmp_path / "net.pt", Answers()), tmp_path)

    assert len(handler.decode(pb.GenerateRequest(seeds=range(5))).samples) == 5
    with pytest.raises(InvalidArgument, match="6 faces of 1024 pixels do not fit") as error:
        handler.decode(pb.GenerateRequest(seeds=range(6)))
    assert error.value.reason == TOO_MANY_ITEMS


def asked(refusal: ServiceError | None, most: int) -> tuple[list[int], list[int], str | None]:
    """How many things each call asked for, what came back in all, and what the command ended with, of a
    service that refuses more than `most` of seven at once."""
    sizes: list[int] = []
    got: list[int] = []

    async def send(faceloom: Faceloom, request: pb.GenerateRequest) -> pb.GenerateResponse:
        sizes.append(len(request.seeds))
        if refusal and len(request.seeds) > most:
            raise refusal
        return pb.GenerateResponse(faces=[pb.Face(seed=seed) for seed in request.seeds])

    def take(some: Sequence[int], answer: pb.GenerateResponse) -> None:
        got.extend(face.seed for face in answer.faces)

    def request(some: Sequence[int]) -> pb.GenerateRequest:
        return pb.GenerateRequest(seeds=some)

    outcome = CommandOutcome("generator", 7, as_json=False)
    call = ServiceCall(6, int, request, send, take, options={"seeds": "--seeds"})
    OneService("generator", EngineKind.TORCHSERVE, None, None).ask(range(7), call, outcome)
    try:
        outcome.report({})
    except FaceloomError as error:
        return sizes, got, str(error)
    return sizes, got, None


@pytest.mark.parametrize(
    ("refusal", "most", "sizes"),
    [
        (None, 0, [6, 1]),
        (InvalidArgument("too many", reason=TOO_MANY_ITEMS), 3, [6, 3, 3, 1]),
        (InvalidArgument("too many", reason=TOO_MANY_ITEMS), 1, [6, 3, 1, 1, 1, 1, 1, 1, 1]),
        (TooLarge("the answer is 20000000 bytes"), 5, [6, 3, 3, 1]),
    ],
)
def test_calls_are_halved(refusal: ServiceError | None, most: int, sizes: list[int]) -> None:
    assert asked(refusal, most) == (sizes, [*range(7)], None)


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (InvalidArgument("too many", reason=TOO_MANY_ITEMS), "too many; 0 of 7 done, 7 not"),
        (InvalidArgument("no such seed", field="seeds[3]"), "--seeds: no such seed"),
        (Unavailable("gone"), "gone; 0 of 7 done, 7 not"),
    ],
)
def test_what_smaller_calls_do_not_help_ends_the_command(refusal: ServiceError, says: str) -> None:
    assert asked(refusal, 0)[2] == says
