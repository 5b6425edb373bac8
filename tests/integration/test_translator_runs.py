"""Training runs of the translator in real processes: killed and resumed, alone and in two."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.translator_data import DECODER, train_alone
from torch import nn

from faceloom.store.model import open_model
from faceloom.translator.model import load_translator

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def command(training_store: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a child that trains into `tmp_path / out`."""

    def build(out: str, *launcher: str, **more: Any) -> list[str]:
        options = more.pop("options", {})
        what = {
            "task": "sketch",
            "dataset": str(training_store / "dataset"),
            "generator": str(training_store / "store" / "tiny" / "generator"),
            "lpips": str(training_store / "lpips.pth"),
            "out": str(tmp_path / out),
            "options": options,
        }
        module = ["-m", "tests.integration.translator_child", json.dumps(what | more)]
        return [sys.executable, *launcher, *module]

    return build


def torchrun(logs: Path) -> list[str]:
    """What makes two processes of a module."""
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*two, "--log-dir", str(logs / "logs")]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
    )


def finish(command: list[str]) -> None:
    done = run(command)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def flat(state: Any, path: str = "") -> dict[str, Any]:
    """Every number and tensor of a nested state, by its path."""
    if isinstance(state, dict | list):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, inner in items for k, v in flat(inner, f"{path}/{key}").items()}
    return {path: state}


def assert_same(one: Any, other: Any) -> None:
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other[name]), name
        else:
            assert value == other[name], name


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_speed(folder: Path) -> list[dict[str, str]]:
    return [row | {"images_per_second": ""} for row in rows(folder)]


# After a step whose line of metrics is written and which no checkpoint holds; while the second checkpoint is
# being written.
@pytest.mark.parametrize("moment", [{"kill_after_step": 4}, {"kill_in_save": 2}])
def test_a_killed_run_goes_on_bit_for_bit(
    command: Callable[..., list[str]], tmp_path: Path, undisturbed: Path, moment: dict[str, int]
) -> None:
    killed = run(command("killed", **moment))
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint(tmp_path / "killed")["step"] == 3

    finish(command("killed"))

    once, twice = undisturbed, tmp_path / "killed"
    # Weights, average, optimizer, random state, step, best.
    assert_same(checkpoint(once), checkpoint(twice))
    assert checkpoint(twice)["optimizer"]["state"][0]["step"] == 6
    assert_same(
        torch.load(once / "best.pt", weights_only=True),
        torch.load(twice / "best.pt", weights_only=True),
    )
    assert [int(row["step"]) for row in rows(twice)] == [1, 2, 3, 4, 5, 6]
    assert without_speed(once) == without_speed(twice)
    for path in ("samples/000003.png", "samples/000006.png", "model/weights.safetensors"):
        assert (once / path).read_bytes() == (twice / path).read_bytes()
    left_behind = {path.name for path in twice.iterdir()} - {path.name for path in once.iterdir()}
    assert left_behind == set()


def test_a_finished_run_stays_as_it_is(
    training_store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(undisturbed, tmp_path / "run")
    shutil.rmtree(again / "model")

    train_alone(training_store, again)

    assert_same(checkpoint(undisturbed), checkpoint(again))
    assert rows(undisturbed) == rows(again)
    for path in ("model/weights.safetensors", "model/model.json"):
        assert (undisturbed / path).read_bytes() == (again / path).read_bytes()


# The second time two processes take up what one began.
@pytest.mark.parametrize(("accumulate", "begun_alone"), [(1, False), (2, True)])
def test_two_processes_do_what_one_does(
    command: Callable[..., list[str]], tmp_path: Path, accumulate: int, begun_alone: bool
) -> None:
    options = {
        "accumulate": accumulate, "batch": 8, "steps": 4, "decode_every": 2, "latent_only": 0.5,
        "save_every": 2,
        # AdamW divides by the size of a gradient, so rounding becomes a share of the rate where that is tiny.
        "rate": 2e-5,
    }  # fmt: skip
    finish(command("one", options=options))
    if begun_alone:
        assert run(command("two", options=options, kill_after_step=2)).returncode == -signal.SIGKILL
    finish(command("two", *torchrun(tmp_path), options=options))

    one, two = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "two")
    for part in ("encoder", "average"):
        for name, value in one[part].items():
            near = torch.isclose(two[part][name], value, atol=1e-5, rtol=1e-5)
            # Where a gradient is nothing but rounding, its direction is, too.
            assert near.float().mean() >= 0.99, name
    # The gradients themselves: local statistics or half a batch would move them by half their size.
    moments = [flat(state["optimizer"]["state"]) for state in (one, two)]
    for name, value in moments[0].items():
        error = (moments[1][name] - value).abs().max()
        # What is squared has twice the relative error.
        share = 0.06 if name.endswith("exp_avg_sq") else 0.03
        assert error <= share * value.abs().max(), name
    assert [row["step"] for row in rows(tmp_path / "two")] == ["1", "2", "3", "4"]
    for alone, shared in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert float(shared["loss"]) == pytest.approx(float(alone["loss"]), rel=1e-5)


def test_batch_norm_of_two_processes_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    # A mean far from zero: sums of squares would lose its variance.
    x = torch.randn(6, 5, 4, 3, generator=random) * torch.rand(5, 1, 1, generator=random) + 30
    gradient = torch.randn(x.shape, generator=random)
    network = nn.Sequential(nn.BatchNorm2d(5))
    nn.init.normal_(network[0].weight, generator=random)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    torch.save({"x": x, "gradient": gradient, "state": state}, tmp_path / "in")
    finish(
        [sys.executable, *torchrun(tmp_path), "-m", "tests.integration.batch_norm_child",
         str(tmp_path / "in"), str(tmp_path / "out")]
    )  # fmt: skip

    # In float64, where PyTorch's own batch norm has digits to spare.
    whole = x.double().requires_grad_()
    network.double()
    y = network(whole)
    y.backward(gradient.double())
    halves = [torch.load(tmp_path / f"out{rank}", weights_only=True) for rank in (0, 1)]
    close = {"atol": 1e-4, "rtol": 1e-4, "check_dtype": False}
    torch.testing.assert_close(torch.cat([half["y"] for half in halves]), y.detach(), **close)
    torch.testing.assert_close(torch.cat([half["x.grad"] for half in halves]), whole.grad, **close)
    for half in halves:
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(half["grads"][name], parameter.grad, **close)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(half["state"][name], value, **close)
    evaluated = torch.cat([half["evaluated"] for half in halves])
    torch.testing.assert_close(evaluated, network.eval()(whole).detach(), **close)


def test_the_exported_model_translates_as_the_best_weights_do(
    undisturbed: Path, tmp_path: Path
) -> None:
    model = open_model(undisturbed / "model")
    translator = load_translator(model, "cpu")
    best = torch.load(undisturbed / "best.pt", weights_only=True)

    assert model.network["decoder"] == DECODER
    assert model.options == {"mixed_layers": [3, 4, 5, 6, 7], "psi": 0.7}
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    stored = translator.w_plus("sketch", x)
    translator.encoders["sketch"].load_state_dict(best["encoder"])
    assert stored.shape == (3, 8, 12)
    # Half precision at rest.
    torch.testing.assert_close(stored, translator.w_plus("sketch", x), atol=2e-3, rtol=2e-2)


def test_runs_are_joined_by_a_command(
    undisturbed: Path, training_store: Path, tmp_path: Path
) -> None:
    def join(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "faceloom.cli.main", "train", "join-translators"]
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, check=False,
            env=os.environ | {"FACELOOM_MODEL_STORE": str(training_store / "store")},
        )  # fmt: skip

    done = join(undisturbed, "--out", tmp_path / "translator")
    refused = join(undisturbed, tmp_path, "--out", tmp_path / "other")

    assert done.stdout.split() == ["model", str(tmp_path / "translator")], done.stderr
    assert set(open_model(tmp_path / "translator").network["encoders"]) == {"sketch"}
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert f"{tmp_path}/best.pt is not there" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_a_run_writes_what_it_says(undisturbed: Path) -> None:
    lines = rows(undisturbed)

    assert {path.name for path in undisturbed.iterdir()} == {
        "run.json", "checkpoint.pt", "best.pt", "metrics.csv", "samples", "model", "lock",
    }  # fmt: skip
    assert json.loads((undisturbed / "run.json").read_text())["task"] == "sketch"
    judged = {int(row["step"]): row["validation_perceptual"] for row in lines}
    assert [step for step, score in judged.items() if score] == [2, 4, 6]
    best = torch.load(undisturbed / "best.pt", weights_only=True)
    assert best["scores"]["perceptual"] == min(float(score) for score in judged.values() if score)
    assert judged[best["step"]] == str(best["scores"]["perceptual"])
    for row in lines:
        weights = {"l2": 1, "perceptual": 0.8, "w_norm": 0.005, "latent": 1}
        total = sum(weight * float(row[name]) for name, weight in weights.items())
        assert float(row["loss"]) == pytest.approx(total, rel=1e-5)
        assert float(row["images_per_second"]) > 0
