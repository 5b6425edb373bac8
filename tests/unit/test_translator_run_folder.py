"""What a training run leaves: its folder and the exported model; and the Job that runs it on a cluster."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from tests.translator_data import DECODER, small_options
from typer.main import get_command

from faceloom.cli.main import app
from faceloom.core.errors import UsageError
from faceloom.store.model import open_model
from faceloom.stylegan2.network import Generator
from faceloom.training.runs import save_model
from faceloom.training.translator.export import export, fine_layers, halved
from faceloom.training.translator.run_folder import RunFolder
from faceloom.translator.model import FACE, SKETCH, Translator, load_translator

JOB = Path(__file__).parents[2] / "deploy" / "jobs" / "train-translator.yaml"


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# --- folder


def test_a_folder_belongs_to_one_run_and_one_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    mine = {"task": "sketch", "options": {"widths": (1, 2)}}
    with folder.held(mine):
        with pytest.raises(UsageError, match="another process"), RunFolder(folder.path).held(mine):
            pass
        (folder.path / ".new-4711").write_text("torn")
    with folder.held(mine):
        assert not list(folder.path.glob(".new-*"))
    with pytest.raises(UsageError, match=r"options\.widths: \[1, 2\] there, \[1, 3\] here"):
        folder.check({"task": "sketch", "options": {"widths": (1, 3)}})
    (folder.path / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        folder.check(mine)


def test_metrics_of_steps_that_come_again_are_forgotten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (50, 100, 150):
        folder.append_metrics({"step": step, "loss": step / 3, "latent": None})
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("20")  # of step 200, when the power went

    folder.forget_metrics_after(100)

    text = (tmp_path / "metrics.csv").read_bytes().decode()
    assert text.split() == ["step,loss,latent", "50,16.666666666666668,", "100,33.333333333333336,"]
    folder.append_metrics({"step": 150, "loss": 1.0, "latent": 2.0})
    assert [row["step"] for row in lines(tmp_path)] == ["50", "100", "150"]


# --- export


def test_runs_of_several_tasks_become_one_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = Generator(**DECODER)
    weights = decoder.state_dict() | {"latent_avg": torch.randn(12)}
    save_model(
        tmp_path / "generator", service="generator", network=DECODER, options={}, weights=weights,
        licence="CC0", sources=[], metrics={},
    )  # fmt: skip
    digest = json.loads((tmp_path / "generator" / "model.json").read_text())["weights"]["sha256"]
    runs, encoders = [], {}
    for task in (SKETCH, FACE):
        options = small_options()
        encoder = Translator(DECODER, {task: options.encoder}).encoders[task]
        encoders[task] = encoder.state_dict()
        run = {"dataset": "d" * 64, "dataset_seed": 3, "generator": digest, "options": {"steps": 6}}
        state = {
            "task": task, "network": options.encoder, "encoder": encoders[task], "step": 4,
            "scores": {"perceptual": 0.5, "latent": 0.25}, "run": run,
        }  # fmt: skip
        runs.append(tmp_path / f"{task}.pt")
        torch.save(state, runs[-1])

    export(runs, tmp_path / "generator", tmp_path / "model")

    model = open_model(tmp_path / "model")
    translator = load_translator(model, "cpu")
    assert set(translator.encoders) == {SKETCH, FACE} and model.license == "CC0"
    assert model.metrics[FACE]["perceptual"] == 0.5
    assert [source["dataset_digest"] for source in model.sources] == ["d" * 64] * 2
    assert [source["dataset_seed"] for source in model.sources] == [3, 3]
    torch.testing.assert_close(translator.decoder.latent_avg, weights["latent_avg"])
    for task, state in encoders.items():
        for name, value in translator.encoders[task].state_dict().items():
            torch.testing.assert_close(value, state[name].to(value.dtype), atol=2e-3, rtol=1e-3)
    with pytest.raises(UsageError, match="a second sketch run"):
        export([runs[0], runs[0]], tmp_path / "generator", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_only_matrices_are_halved() -> None:
    stored = halved(
        {"kernel": torch.rand(2, 2), "variance": torch.full((2,), 1e-9), "count": torch.tensor(3)}
    )
    assert [tensor.dtype for tensor in stored.values()] == [torch.half, torch.float32, torch.int64]
    assert stored["variance"].min() > 0


def test_styles_mix_from_where_published_psp_mixes() -> None:
    assert fine_layers(10) == list(range(3, 10))
    assert fine_layers(14) == list(range(8, 14)) and fine_layers(18) == list(range(8, 18))


# --- cluster


def test_the_job_runs_the_command_on_every_index() -> None:
    service, job = yaml.safe_load_all(JOB.read_text())
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    command = container["command"]

    assert spec["completionMode"] == "Indexed"
    assert command[0] == "torchrun" and "--node-rank=$(JOB_COMPLETION_INDEX)" in command
    assert f"--nnodes={spec['completions']}" in command
    assert spec["parallelism"] == spec["completions"]
    # Hosts of an Indexed Job are <job>-<index>.<subdomain>, and the Service makes them known.
    name, port = job["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert f"--master-addr={name}-0.{pod['subdomain']}" in command
    assert f"--master-port={port}" in command
    assert (
        pod["subdomain"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None"
    )
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert f"--nproc-per-node={gpus}" in command
    # The rest is our own command line, as the command line itself understands it.
    start = command.index("train")
    assert command[start - 2 : start] == ["-m", "faceloom.cli.main"]
    train = get_command(app).commands["train"].commands["translator"]  # type: ignore[attr-defined]
    with train.make_context("translator", command[start + 2 :]) as context:
        assert str(context.params["profile"]) == "full" and context.params["precision"] == "bf16"


def test_the_job_is_hardened() -> None:
    _, job = yaml.safe_load_all(JOB.read_text())
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    own = container["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
