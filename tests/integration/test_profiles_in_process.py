"""A created profile in this process: its models by name, and builds with its default ones."""

import json
from pathlib import Path

import pytest
import torch
from tests.stores import change_weights, put_import
from typer.testing import CliRunner

from faceloom.cli.main import app
from faceloom.clients.client import Faceloom
from faceloom.clients.in_process import InProcessCaller
from faceloom.generator.v1 import generator_pb2
from faceloom.store.new_profile import create_profile


async def test_this_process_serves_all_models_of_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_import(tmp_path, "generator", "star")
    second = put_import(tmp_path, "generator", "star", "2")
    change_weights(second, {"latent_avg": torch.full((100,), 0.5)})
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))
    create_profile("both", {"generator": ["star/2", "star/1"]}, None)

    async with Faceloom(InProcessCaller("both")) as faceloom:
        default, first, named = [
            await faceloom.generate(
                generator_pb2.GenerateRequest(
                    seeds=[5], truncation_psi=0.5, model_version=version
                )
            )
            for version in ("", "star/1", "2")
        ]  # fmt: skip

    assert [a.model.version for a in (default, first, named)] == ["2", "1", "2"]
    assert default == named
    assert default.faces[0].image.data != first.faces[0].image.data


def test_a_build_is_made_with_the_default_models_of_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("generator", "quality", "sketch", "segmentation"):
        put_import(tmp_path, kind, "first")
        put_import(tmp_path, kind, "other")
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))
    references = {"generator": ["first", "other"], "quality": ["other", "first"]}
    rest = {kind: ["first", "other"] for kind in ("sketch", "segmentation")}
    create_profile("both", references | rest, None)
    out = tmp_path / "dataset"

    told = ["build", "--candidates", "2", "--engine", "inprocess", "--profile", "both"]
    done = CliRunner().invoke(app, [*told, "--out", str(out)])

    assert done.exit_code == 0, done.output
    models = json.loads((out / "recipe.json").read_text())["models"]
    assert {kind: model["name"] for kind, model in models.items()} == {
        "generator": "first", "quality": "other", "sketch": "first", "segmentation": "first",
    }  # fmt: skip
