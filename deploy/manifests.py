"""Renders what depends on `service.toml` files, on the tiny models and on other files here: `make manifests`.

With --check it writes nothing and fails when a file is not what it would write.
"""

import hashlib
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from string import Template

import yaml
from monitoring.grafana import dashboards

from faceloom.builds.shard_stats import SCORE_BOUNDS
from faceloom.runtime.service import Service, services
from faceloom.store.model import open_model
from faceloom.store.package import package_profile
from faceloom.store.profile import model_folder

DEPLOY = Path(__file__).parent
# From the deletion of a pod until no client sends calls to it; the front's preStop hook sleeps so long.
_FORGET_SECONDS = 5
# For the engine to stop when the front has.
_STOP_SECONDS = 25

# One file per service, or one file for all.
_TEMPLATES = {
    "model-service.yaml": "base/{name}/model-service.yaml",
    "kustomization.yaml": "base/{name}/kustomization.yaml",
    "budget.yaml": "components/pdb/budgets.yaml",
    "scaled-object.yaml": "components/keda/scaled-objects.yaml",
    "probes.yaml": "overlays/ci/probes.yaml",
}
# Files that name every service.
_LISTS = {"base.yaml": "base/kustomization.yaml", "targets.yaml": "base/targets.yaml"}


def grace_seconds(service: Service) -> int:
    """How long a pod of the service may take to end: no call that was let in is lost."""
    return _FORGET_SECONDS + int(service.max_seconds) + _STOP_SECONDS


def rendered() -> dict[Path, str]:
    """Every rendered file with its content."""
    parts: dict[Path, list[str]] = {}
    for source, target in _TEMPLATES.items():
        template = Template((DEPLOY / "templates" / source).read_text())
        for name, service in services().items():
            text = template.safe_substitute(
                name=name,
                service=service.service,
                max_seconds=int(service.max_seconds),
                drain=grace_seconds(service) - _STOP_SECONDS,
                grace=grace_seconds(service),
            )
            first = _first_line(source)
            parts.setdefault(DEPLOY / target.format(name=name), [first]).append(text)
    files = {path: texts[0] + "---\n".join(texts[1:]) for path, texts in parts.items()}
    for source, target in _LISTS.items():
        template = Template((DEPLOY / "templates" / source).read_text())
        text = template.substitute(
            resources="\n".join(f"  - {name}" for name in services()),
            targets="\n    ".join(f'"{name}": "dns:///{name}-pods:50051",' for name in services()),
        )
        files[DEPLOY / target] = _first_line(source) + text
    files[DEPLOY / "base/archives/SHA256SUMS"] = _tiny_sums()
    files[DEPLOY / "monitoring/rules/reference.yaml"] = _quality_reference()
    for name, text in dashboards().items():
        files[DEPLOY / "monitoring/dashboards" / f"{name}.json"] = text
    return files


def _first_line(source: str) -> str:
    return f"# Rendered from templates/{source} by make manifests.\n"


def _tiny_sums() -> str:
    """The digests of the tiny profile's archives, as sha256sum prints them."""
    with tempfile.TemporaryDirectory() as folder:
        archives = sorted(package_profile("tiny", Path(folder)))
        return "".join(
            f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n"
            for archive in archives
        )


def _quality_reference() -> str:
    """Rules that say how the tiny quality model scored the faces it was judged on, wherever it is served."""
    model = open_model(model_folder("tiny", "quality"))
    held_out = model.metrics["held_out"]
    below = accumulate(part["count"] for part in held_out["calibration"])
    values = [
        ("faceloom:quality_reference:score_ratio", {"le": str(bound)}, count / held_out["labels"])
        for bound, count in zip(SCORE_BOUNDS, below, strict=True)
    ]
    values.append(("faceloom:quality_reference:accepted_ratio", {}, held_out["accepted_share"]))
    served = f'max by (namespace) (faceloom_model_info{{digest="{model.weights.sha256}"}})'
    rules = [
        {"record": name, "expr": f"{served} * {value}", "labels": labels}
        for name, labels, value in values
    ]
    name = "faceloom-quality-reference"
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/name": name,
                "app.kubernetes.io/component": "monitoring",
            },
        },
        "spec": {"groups": [{"name": name, "rules": rules}]},
    }
    return "# Rendered from the tiny quality model by make manifests.\n" + yaml.safe_dump(
        rule, sort_keys=False, width=200
    )


def main() -> int:
    """Writes the files, or with --check names those that differ."""
    stale = [
        path for path, text in rendered().items() if not path.is_file() or path.read_text() != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(DEPLOY.parent)} is stale: make manifests", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
