"""What belongs to a service, a format, a stage and an executor, and where it is missing.

Files are looked at and not imported, so that a copy of the project can be asked as well as the project.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.extending.page import run

# Of every service: a file, and what is in it.
SERVICE_PLACES = {
    "protos/faceloom/{name}/v1/{name}.proto": r"^service {short} \{{",
    "services/faceloom/{name}/v1/{name}_pb2_grpc.py": r"^class {short}Servicer",
    "services/faceloom/{name}/__init__.py": r'^"""',
    "services/faceloom/{name}/handler.py": r"^class {handler}\(Handler\[",
    "services/faceloom/{name}/checkpoint.py": r"^FORMATS: ",
    ".importlinter": r"^    (.* )?{name}( |$)",
    "services/faceloom/clients/client.py": r'\.call\("{name}", request, timeout\)',
    "services/faceloom/training/{name}/__init__.py": r'^"""',
    "model_store/tiny/recipe.mk": r"^\$\(STORE\)/{name}/model\.json:",
    "model_store/tiny/{name}/model.json": r'"license": "[^"]',
    "model_store/tiny/{name}/README.md": r"^## Licence",
    "docs/models.md": r"^\| {name} \| .*\(\.\./model_store/tiny/{name}/README\.md\)",
    "docs/operations.md": r"^\| {name} \| {port} \| {metrics} \|$",
    "deploy/base/{name}/resources.yaml": r"name: front\n +resources:(.|\n)*name: engine\n +resources:",
    "deploy/base/{name}/model-service.yaml": r"args: \[serve, {name},",
    "deploy/base/kustomization.yaml": r"^  - {name}$",
    "deploy/base/targets.yaml": r'"{name}": "dns:///{name}-pods:50051"',
    "deploy/base/archives/SHA256SUMS": r"^[0-9a-f]{{64}}  {name}\.mar$",
    "tests/contract/test_protos.py": r'^        "{name}": \[',
}
_PORTS = range(50051, 50070)
_EXECUTORS = "services/faceloom/builds/executors"

# Prints what the code itself says that there is.
_NAMES = """
import json
from faceloom.builds.executors.registry import EXECUTORS
from faceloom.builds.stages import STAGES
from faceloom.checkpoints.importer import formats
from faceloom.runtime.service import services
print(json.dumps({
    "formats": {kind: list(formats(kind)) for kind in (*services(), "losses")},
    "stages": {
        name: [row.stage.service, *(kind.folder for kind in row.stage.outputs)]
        for name, row in STAGES.items()
    },
    "executors": list(EXECUTORS),
}))
"""


def names(root: Path) -> dict[str, Any]:
    """The formats by kind, the stages with their service and folders, and the executors of a project."""
    found: dict[str, Any] = json.loads(run(root, sys.executable, "-c", _NAMES))
    return found


def forgotten(root: Path, named: Mapping[str, Any]) -> list[str]:
    """What is missing, a line each, which begins with the file.

    Args:
        root: Of the project.
        named: Its `names`.
    """
    return [*_of_services(root), *_of_formats(root, named), *_of_stages(root, named),
            *_of_executors(root, named)]  # fmt: skip


def service_facts(root: Path) -> dict[str, dict[str, Any]]:
    """What the service.toml files say, by service."""
    files = sorted((root / "services/faceloom").glob("*/service.toml"))
    return {file.parent.name: tomllib.loads(file.read_text()) for file in files}


def _of_services(root: Path) -> Iterator[str]:
    found = service_facts(root)
    for proto in sorted((root / "protos/faceloom").glob("*/v1")):
        name = proto.parent.name
        if name not in found and name not in ("common", "pipeline"):
            yield f"services/faceloom/{name}/service.toml is missing, but there is a proto"
    ports = [facts["port"] for facts in found.values()]
    for name, facts in found.items():
        if facts["port"] not in _PORTS or ports.count(facts["port"]) > 1:
            yield f"services/faceloom/{name}/service.toml: port {facts['port']} is another's, or out of range"
        yield from _of_service(root, name, facts)


def _of_service(root: Path, name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    values = {
        "name": name,
        "short": facts["service"].rpartition(".")[2],
        "handler": facts["handler"].partition(":")[2],
        "port": facts["port"],
        "metrics": facts["port"] - 1000,
    }
    for place, pattern in SERVICE_PLACES.items():
        path = place.format(**values)
        if not re.search(pattern.format(**values), _text(root, path), re.M):
            yield f"{path} has nothing of the service {name}"
    for file in (root / "services/faceloom" / name).glob("*.py"):
        for module in re.findall(rf"from faceloom\.{name}\.(\w+) import", file.read_text()):
            path = f"services/faceloom/{name}/{module}.py"
            if not (file.with_name(module).is_dir() or (root / path).is_file()):
                yield f"{path} is missing, but {file.name} imports it"
    proto = _text(root, f"protos/faceloom/{name}/v1/{name}.proto")
    for message in re.findall(r"\b(?:rpc \w+|returns )\((\w+)\)", proto):
        if f"{name}_pb2.{message}(" not in _text(root, "tests/contract/test_protos.py"):
            yield f"tests/contract/test_protos.py has no bytes of {message}"


def _of_formats(root: Path, named: Mapping[str, Any]) -> Iterator[str]:
    told = re.sub(r"\s+", " ", _text(root, "services/faceloom/cli/models.py"))
    asked, published = _text(root, "docs/models.md"), _text(root, "docs/published-models.md")
    layouts = published.partition("## Layouts that are read")[2].partition("\n## ")[0]
    commands = re.findall(
        r"^faceloom models import --kind (\S+) --format (\S+) ", published + asked, re.M
    )
    for kind, forms in named["formats"].items():
        for form in forms:
            word = re.escape(form)
            if not re.search(rf"\[bold\]{kind}\[/bold\] [^\[]*(?<![\w-]){word}[,. ]", told):
                yield f"services/faceloom/cli/models.py: the help does not name {kind}'s format {form}"
            if not re.search(rf"^\| {kind} \| .*`{word}`", asked, re.M):
                yield f"docs/models.md does not say what {kind}'s format {form} asks for"
            if f"`{form}`" not in layouts or (kind, form) not in commands:
                yield f"docs/published-models.md has no layout or no command of {kind}'s format {form}"
    for kind, form in commands:
        if form not in named["formats"].get(kind, ()):
            yield f"services/faceloom/{kind}/checkpoint.py has no format {form}, which is documented"


def _of_stages(root: Path, named: Mapping[str, Any]) -> Iterator[str]:
    page = _text(root, "docs/datasets.md").partition("`--stages` names them")[2]
    listed = re.findall(r"`([^`]+)`", page.partition("or `none`")[0])
    build = json.loads(_text(root, "deploy/monitoring/dashboards/build.json") or "{}")
    for name, (service, *folders) in named["stages"].items():
        if not {name, *(f"{folder}/" for folder in folders)} <= set(listed):
            yield f"docs/datasets.md does not name the stage {name} with its folder"
        if not re.search(rf'name=~"[^"]*\b{service}\b', str(_queries(build))):
            yield f"deploy/monitoring/dashboards/build.json does not select {service}: make manifests"
    for name in listed:
        if not name.endswith("/") and name not in named["stages"]:
            yield f"services/faceloom/builds/stages.py has no stage {name}, which is documented"


def _queries(dashboard: Mapping[str, Any]) -> list[str]:
    return [one["expr"] for panel in dashboard.get("panels", ()) for one in panel["targets"]]


def _of_executors(root: Path, named: Mapping[str, Any]) -> Iterator[str]:
    (row,) = re.findall(r"^\| `FACELOOM_EXECUTOR` .*", _text(root, "docs/operations.md"), re.M)
    for name in named["executors"]:
        if f"`{name}`" not in row:
            yield f"docs/operations.md does not name the executor {name}"
    registry = _text(root, f"{_EXECUTORS}/registry.py")
    imported = set(re.findall(r"from faceloom\.builds\.executors\.(\w+) import", registry))
    for module in imported:
        if not (root / _EXECUTORS / f"{module}.py").is_file():
            yield f"{_EXECUTORS}/{module}.py is missing, but the registry names it"
    for file in sorted((root / _EXECUTORS).glob("*.py")):
        if "(RemoteExecutor):" in file.read_text() and file.stem not in imported:
            yield f"{_EXECUTORS}/registry.py does not name the executor of {file.name}"


def _text(root: Path, path: str) -> str:
    file = root / path
    return file.read_text() if file.is_file() else ""
