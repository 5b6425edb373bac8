"""Generates the Python stubs of protos/ into the services they belong to.

Includes are resolved from protos/, which is also how the generated code imports: `faceloom.common.v1`
is one import root, so nothing has to be rewritten. `generate.py --check` changes nothing and exits 1
when a stub is missing or stale; CI runs that.
"""

import sys
import tempfile
from filecmp import cmp
from pathlib import Path
from shutil import copyfile

import grpc_tools
from grpc_tools import protoc

PROTOS = Path(__file__).parent
IMPORT_ROOT = PROTOS.parent / "services"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def compile_to(out: Path, protos: list[Path], *plugins: str) -> None:
    includes = [f"-I{root}" for root in (PROTOS, WELL_KNOWN)]
    outputs = [f"--{plugin}={out}" for plugin in plugins]
    out.mkdir(parents=True, exist_ok=True)
    if protoc.main(["protoc", *includes, *outputs, *map(str, protos)]) != 0:
        sys.exit(1)


def generate(root: Path) -> None:
    ours = sorted(PROTOS.glob("faceloom/**/*.proto"))
    services = [path for path in ours if "\nservice " in path.read_text()]
    compile_to(root, ours, "python_out", "mypy_out")
    compile_to(root, services, "grpc_python_out", "mypy_grpc_out")
    # TorchServe's messages are spoken by the runtime alone, so they live inside it.
    compile_to(
        root / "faceloom/runtime", [PROTOS / "torchserve/inference.proto"], "python_out", "mypy_out"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        made = [path for path in Path(folder).rglob("*") if path.is_file()]
        stale = []
        for path in made:
            target = IMPORT_ROOT / path.relative_to(folder)
            if not target.is_file() or not cmp(path, target, shallow=False):
                stale.append(target.relative_to(IMPORT_ROOT))
                if "--check" not in sys.argv:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    copyfile(path, target)
    if stale and "--check" in sys.argv:
        sys.exit(f"stale stubs, run `make protos`: {', '.join(map(str, sorted(stale)))}")


if __name__ == "__main__":
    main()
