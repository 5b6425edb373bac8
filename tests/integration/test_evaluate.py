"""An evaluation from dataset to report: real models of every service, a translator with random encoders, and
a dataset that was built in this process."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from faceloom.builds.run import run_build
from faceloom.cli.main import run
from faceloom.clients.client import Faceloom
from faceloom.clients.in_process import InProcessCaller
from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import UsageError
from faceloom.core.images import decode_rgb
from faceloom.datasets.spec import BuildSpec
from faceloom.generator.v1 import generator_pb2
from faceloom.runtime.batch import run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.store.model import BrokenModel, open_model
from faceloom.store.profile import model_folder
from faceloom.store.torch_model import load_weights
from faceloom.stylegan2.latents import to_pixels
from faceloom.training.runs import save_model
from faceloom.training.translator import evaluate as names
from faceloom.training.translator.evaluate import Evaluation, EvaluationSpec, evaluate
from faceloom.training.translator.evaluation_report import verdict, write_report
from faceloom.training.translator.held_out import read_held_out
from faceloom.training.translator.local_services import Translating
from faceloom.translator.conditions import face_tensor, layout_tensor, sketch_tensor
from faceloom.translator.model import Translator, load_translator, stored_tensors

ENCODER = {"side": 32, "blocks": (1, 1, 1, 1), "widths": (4, 4, 4, 4)}
VARIANTS = 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 faces, of which some twelve are for validation and the test; the recipe's digest decides which."""
    folder = tmp_path_factory.mktemp("built") / "dataset"

    async def build() -> None:
        async with Faceloom(InProcessCaller()) as faceloom:
            await run_build(BuildSpec(candidates=128, threshold=0.0), folder, faceloom)

    asyncio.run(build())
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator of layouts that was never trained."""
    folder = tmp_path_factory.mktemp("model")
    generator = open_model(model_folder("tiny", "generator"))
    network = {"decoder": generator.network, "encoders": {"segmentation": ENCODER}}
    torch.manual_seed(0)
    translator = Translator(**network)
    translator.decoder.load_state_dict(load_weights(generator))
    save_model(
        folder, service="translator", network=network,
        options={"mixed_layers": [5, 6, 7, 8, 9], "psi": 0.7},
        weights=stored_tensors(translator), licence="MIT", sources=[], metrics={},
    )  # fmt: skip
    return folder


def random_features() -> Callable[[torch.Tensor], Sequence[torch.Tensor]]:
    """Two layers of a network that has learned nothing; distances in it are distances all the same."""
    torch.manual_seed(0)
    first, second = torch.nn.Conv2d(3, 8, 5, 4), torch.nn.Conv2d(8, 8, 3, 2)

    @torch.no_grad()
    def features(pictures: torch.Tensor) -> list[torch.Tensor]:
        layer = first(pictures).relu()
        return [layer, second(layer)]

    return features


@pytest.fixture(scope="module")
def outcome(dataset: Path, model: Path) -> Iterator[Evaluation]:
    """With the model as its own baseline."""
    threads = torch.get_num_threads()
    spec = EvaluationSpec("segmentation", dataset, "test", model, model, variants=VARIANTS)
    yield evaluate(spec, random_features())
    torch.set_num_threads(threads)


def pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with PilImage.open(path) as picture:
        return np.asarray(picture)


def mean(evaluation: Evaluation, name: str, measure: str) -> float:
    return float(np.mean(evaluation.rows[name].values[measure]))


def test_a_true_face_is_as_good_as_it_gets(outcome: Evaluation, dataset: Path) -> None:
    rows = map(json.loads, (dataset / "metadata.jsonl").read_text().splitlines())
    count = sum(row["split"] == "test" for row in rows)
    assert outcome.count == count > 0
    assert len(outcome.held_out) == min(count, names.EXAMPLES)
    assert mean(outcome, names.TRUE_FACE, "perceptual_distance") == 0
    assert mean(outcome, names.TRUE_FACE, "psnr_db") == float("inf")
    # The dataset's own drawing and layout come out of it again, to the last pixel.
    assert outcome.rows[names.TRUE_FACE].values["line_f1_2px"] == [1] * count
    assert outcome.rows[names.TRUE_FACE].values["layout_mean_iou"] == [1] * count
    assert outcome.rows[names.TRUE_FACE].frechet_distance == pytest.approx(0, abs=1e-6)
    for name in set(outcome.rows) - {names.TRUE_FACE}:
        assert mean(outcome, name, "perceptual_distance") > 0
        assert 0 < mean(outcome, name, "line_f1_2px") < 1
        assert 0 < mean(outcome, name, "layout_mean_iou") < 1
        assert outcome.rows[name].frechet_distance > 1e-6


def test_what_is_measured_is_what_the_network_makes(outcome: Evaluation, model: Path) -> None:
    network = load_translator(open_model(model), "cpu")

    for truth, (picture,) in zip(
        outcome.held_out, outcome.rows[names.TRANSLATOR].examples, strict=True
    ):
        with torch.inference_mode():
            w_plus = network.w_plus("segmentation", layout_tensor(truth.layout, 32)[None])
            (expected,) = to_pixels(network.decoder.synthesis(w_plus))
        assert np.array_equal(picture, expected)


def test_variants_are_several_and_differ(outcome: Evaluation) -> None:
    row = outcome.rows[names.STYLED]
    pictures = [picture.tobytes() for pictures in row.examples for picture in pictures]

    assert len(set(pictures)) == len(outcome.held_out) * VARIANTS
    assert min(row.values["diversity"]) > 0
    assert [name for name, row in outcome.rows.items() if "diversity" in row.values] == [
        names.STYLED
    ]


def test_the_mean_face_is_the_generators(
    outcome: Evaluation, handler_of: Callable[[str], AnyHandler]
) -> None:
    request = generator_pb2.GenerateRequest(seeds=[3], truncation_psi=0).SerializeToString()
    call = engine_pb2.EngineCall(method="Generate", request=request)
    (made,) = run_batch(handler_of("generator"), engine_pb2.EngineBatch(calls=[call])).results
    (face,) = generator_pb2.GenerateResponse.FromString(made.response).faces

    for (picture,) in outcome.rows[names.MEAN_FACE].examples:
        assert np.array_equal(picture, decode_rgb(face.image, "face"))


def test_the_neighbour_is_a_training_face_with_a_similar_layout(
    outcome: Evaluation, dataset: Path
) -> None:
    lines = (dataset / "metadata.jsonl").read_text().splitlines()
    train = [row for row in map(json.loads, lines) if row["split"] == "train"]
    layouts = [pixels(dataset / row["layout_file_name"]) for row in train]
    faces = [pixels(dataset / row["file_name"]) for row in train]

    for truth, (picture,) in zip(
        outcome.held_out, outcome.rows[names.NEIGHBOUR].examples, strict=True
    ):
        (place,) = [n for n, face in enumerate(faces) if np.array_equal(face, picture)]
        agreeing = [float((layout == truth.layout).mean()) for layout in layouts]
        # Searched for in small, blurred layouts: in the best tenth of the large ones, not always the best.
        assert sum(other > agreeing[place] for other in agreeing) < len(train) / 10


def test_a_model_is_not_better_than_itself(outcome: Evaluation) -> None:
    assert outcome.rows[names.PLAIN_LOSS].values == outcome.rows[names.TRANSLATOR].values
    assert [comparison.measure for comparison in verdict(outcome)] == [
        "perceptual_distance",
        "layout_mean_iou",
    ]
    assert not any(comparison.wins for comparison in verdict(outcome))


def test_the_report_is_three_whole_files(outcome: Evaluation, tmp_path: Path) -> None:
    write_report(outcome, tmp_path / "report")

    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "evaluation.json",
        "evaluation.md",
        "examples.png",
    }
    data = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert [row["name"] for row in data["rows"]] == list(outcome.rows)
    assert data["digests"]["model"] == data["digests"]["baseline_model"]
    with PilImage.open(tmp_path / "report" / "examples.png") as sheet:
        # Condition, true face, translation, variants, neighbour, mean face.
        assert sheet.size == ((5 + VARIANTS) * 128, len(outcome.held_out) * 128)


def test_the_same_question_has_the_same_answer(
    outcome: Evaluation, dataset: Path, model: Path
) -> None:
    spec = EvaluationSpec("segmentation", dataset, "test", model, variants=VARIANTS, limit=2)

    again = evaluate(spec, random_features())

    assert again.count == 2
    for name, row in again.rows.items():
        assert row.values == {
            measure: values[:2] for measure, values in outcome.rows[name].values.items()
        }


@pytest.mark.parametrize("task", ["sketch", "segmentation", "face"])
def test_every_task_is_shown_its_own_picture(task: str, dataset: Path) -> None:
    shipped = model_folder("tiny", "translator")
    network = load_translator(open_model(shipped), "cpu")
    truth = read_held_out(dataset, task, 64, "test", 2)[1][0]
    side = network.side(task)
    shown = {
        "sketch": sketch_tensor(truth.sketch, side),
        "segmentation": layout_tensor(truth.layout, side),
        "face": face_tensor(truth.face, side),
    }[task]

    answer = Translating(shipped, task).plain(truth.condition(task))

    with torch.inference_mode():
        made = to_pixels(network.decoder.synthesis(network.w_plus(task, shown[None])))[0]
    assert np.abs(answer.astype(int) - made).max() <= 1


def refuse(says: str, kind: type[Exception] = UsageError, **changed: Any) -> None:
    """Asks a question that has no answer."""
    with pytest.raises(kind, match=says):
        evaluate(EvaluationSpec(**changed), random_features())


def test_what_cannot_be_evaluated_is_refused(dataset: Path, model: Path, tmp_path: Path) -> None:
    good = {"task": "segmentation", "dataset": dataset, "split": "test", "model": model}
    refuse("no sketch encoder; it has segmentation", **good | {"task": "sketch"})
    refuse("a model of the sketch service", **good | {"model": model_folder("tiny", "sketch")})
    refuse("is not a model", BrokenModel, **good | {"baseline_model": tmp_path})
    refuse("fewer than 2 test faces", **good | {"limit": 1})
    refuse("fails verification", **good | {"dataset": tmp_path})
    touched = shutil.copytree(dataset, tmp_path / "touched")
    layout = next((touched / "layouts").iterdir())
    layout.write_bytes(layout.read_bytes() + b" ")
    refuse(f"fails verification: layouts/{layout.name}", **good | {"dataset": touched})


def test_a_report_that_cannot_be_written_is_printed_all_the_same(
    outcome: Evaluation,
    dataset: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("faceloom.training.features.LiteFeatures", random_features)
    options = {"task": "segmentation", "dataset": dataset, "model": model, "limit": 2}
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "out"
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    command = ["faceloom", "evaluate", "translator", *arguments, "--out", str(out), "--json"]
    monkeypatch.setattr(sys, "argv", command)

    with pytest.raises(SystemExit) as end:
        run()

    printed, said = capfd.readouterr()
    assert end.value.code == 1
    assert said == f"faceloom: cannot write to {out}: Not a directory\n"
    assert json.loads(printed)["digests"]["dataset"] == outcome.digests["dataset"]
    assert (tmp_path / "file").read_text() == "mine"


def test_the_command_measures_with_the_real_features(
    dataset: Path, model: Path, tmp_path: Path
) -> None:
    options = {"task": "segmentation", "dataset": dataset, "model": model, "limit": 2, "out": "out"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "faceloom.cli.main", "evaluate", "translator", *arguments]

    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert printed["faces"] == 2 and printed["variants"] == 4
