"""docs/extending.md is complete: its steps are followed in a copy, used there, and left out one by one."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.extending.page import PAGE, ROOT, Step, follow, left_out, run, steps
from tests.extending.places import SERVICE_PLACES, forgotten, names, service_facts

STEPS = steps()
_COPIED = (
    "deploy", "docs", "model_store/tiny", "protos", "services", "tests", ".importlinter", "Makefile",
    "README.md", "buf.yaml", "pyproject.toml",
)  # fmt: skip
# Files whose code says which formats, stages and executors there are.
_ASKED = ("checkpoint.py", "stages.py", "registry.py")
_LEFT = shutil.ignore_patterns("__pycache__", "*.png", "data")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which every step was followed."""
    root = tmp_path_factory.mktemp("extended")
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=_LEFT)
        else:
            shutil.copy(ROOT / name, root / name)
    for step in STEPS:
        follow(root, step)
    return root


@pytest.fixture(scope="module")
def named(extended: Path) -> dict[str, Any]:
    """What the copy's code says that there is."""
    return names(extended)


def test_nothing_is_forgotten_here() -> None:
    assert forgotten(ROOT, names(ROOT)) == []


def test_nothing_is_forgotten_by_who_follows_the_page(
    extended: Path, named: dict[str, Any]
) -> None:
    assert forgotten(extended, named) == []


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_step_that_is_left_out_is_named(
    step: Step, extended: Path, named: dict[str, Any]
) -> None:
    with left_out(extended, step):
        # What the code says changes with its code; a service that is not whole has none to ask.
        own = step.section != "A model service" and step.path.startswith("services/")
        known = names(extended) if own and step.path.endswith(_ASKED) else named
        missing = forgotten(extended, known)

    assert any(line.startswith((f"{step.path} ", f"{step.path}:")) for line in missing), missing


def test_the_page_names_every_place_of_a_service() -> None:
    """What is rendered is named by the step that renders it."""
    rendered = ("deploy/base/kustomization.yaml", "deploy/base/targets.yaml",
                "deploy/base/archives/SHA256SUMS")  # fmt: skip
    named = {step.path for step in STEPS}
    places = {place.format(name="light") for place in SERVICE_PLACES if place not in rendered}

    assert places - named == set()


def test_files_that_the_page_names_are_there_or_come(extended: Path) -> None:
    for path in re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)`", PAGE.read_text()):
        assert (extended / path).exists(), path
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text().partition("## ")[0]):
        assert (PAGE.parent / link).is_file(), link


@pytest.mark.parametrize("line", ["port = 50051", "port = 50070"])
def test_a_port_that_a_service_cannot_have(
    line: str, extended: Path, named: dict[str, Any]
) -> None:
    file = extended / "services/faceloom/light/service.toml"
    kept = file.read_text()
    file.write_text(kept.replace("port = 50056", line))
    try:
        missing = forgotten(extended, named)
    finally:
        file.write_text(kept)

    assert any("/light/service.toml: port" in one for one in missing)


def test_dashboards_and_alerts_select_every_service() -> None:
    """They name none, but for those of models that have a dashboard of their own."""
    monitoring = ROOT / "deploy" / "monitoring"
    files = [*monitoring.glob("panels/*.yaml"), *monitoring.glob("rules/*.yaml")]
    listed = {
        f"{file.parent.name}/{file.name}"
        for file in files
        for values in re.findall(r'app_kubernetes_io_name=~?"([^"]*)"', file.read_text())
        if set(values.split("|")) & service_facts(ROOT).keys()
    }

    assert listed == {"panels/quality.yaml"}


def test_code_of_the_page_is_as_tidy_as_the_rest(extended: Path) -> None:
    run(extended, "ruff", "format", "--check")
    run(extended, "ruff", "check")
    assert "0 broken" in run(extended, "lint-imports")


def test_a_handler_that_speaks_grpc_breaks_the_contract(extended: Path) -> None:
    """The contract finds handlers by their place, also new ones."""
    file = extended / "services/faceloom/light/handler.py"
    kept = file.read_text()
    file.write_text(f"import grpc\n{kept}")
    try:
        with pytest.raises(AssertionError, match=r"faceloom\.light\.handler -> grpc"):
            run(extended, "lint-imports")
    finally:
        file.write_text(kept)


def test_the_tests_of_all_services_pass_with_another_one(extended: Path) -> None:
    files = (
        "tests/contract/test_protos.py", "tests/contract/test_rpc_names.py",
        "tests/unit/test_service.py", "tests/unit/test_published_models_doc.py",
        "tests/integration/test_batch_invariance.py",
    )  # fmt: skip
    run(
        extended,
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-k",
        "light or not batch_invariance",
        *files,
    )


def test_service_stage_and_executor_build_a_dataset(extended: Path, tmp_path: Path) -> None:
    lines = run(extended, sys.executable, "-m", "tests.extending.added", str(tmp_path / "faces"))

    told = [json.loads(line) for line in lines.splitlines()]
    assert len(told) > 5
    for face in told:
        with Image.open(tmp_path / "faces" / face["file"]) as picture:
            expected = np.asarray(picture, np.float64).mean() / 255
        assert face["asked"] == face["built"] == pytest.approx(expected, abs=1e-6)


def test_format_and_profile_take_a_checkpoint(extended: Path, tmp_path: Path) -> None:
    torch.save({"gain": torch.tensor([250.0])}, tmp_path / "light.pth")
    faceloom = (sys.executable, "-m", "faceloom.cli.main")
    run(
        extended, *faceloom, "models", "import", "--kind", "light", "--format", "percent",
        str(tmp_path / "light.pth"), "--name", "bright", "--license", "MIT",
    )  # fmt: skip
    made = run(extended, *faceloom, "profile", "create", "mine", "--light", "bright", "--json")

    (model,) = json.loads(made)["models"]
    assert (model["service"], model["name"], model["license"]) == ("light", "bright", "MIT")
