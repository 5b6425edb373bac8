"""The examples of clients in other languages, before a front."""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.contract.fronts import Serve
from tests.fakes import FakeEngine

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.generator.v1 import generator_pb2

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "docs" / "clients"
# Where Debian's packages golang-*-dev put their sources.
GO_SOURCES = Path("/usr/share/gocode")
GO_PROGRAMS = ("go", "protoc-gen-go", "protoc-gen-go-grpc")

SEED = 2**64 - 1
PICTURE = bytes(5 * 2**20)
LIMIT = '"grpc.max_receive_message_length": 16 * 1024 * 1024,'


def run(
    *command: str | Path, cwd: Path, **environment: str | Path
) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {name: str(value) for name, value in environment.items()}
    return subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=240
    )


def node_packages() -> Path:
    """The packages of the example in Node, which npm brings once."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    kept = ROOT / "out" / "tools" / "node-client"
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "complete").exists():
            shutil.copy(CLIENTS / "node" / "package.json", kept)
            done = run(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=kept)
            if done.returncode:
                pytest.skip(f"npm does not bring grpc here: {done.stderr.strip()[-200:]}")
            (kept / "complete").touch()
    return kept / "node_modules"


def in_node(folder: Path, without: str = "") -> list[str]:
    """A copy of the example in Node beside the protos, less some of its text; the command that runs it."""
    (folder / "protos").symlink_to(ROOT / "protos")
    example = folder / "docs/clients/node/client.js"
    example.parent.mkdir(parents=True)
    text = (CLIENTS / "node" / "client.js").read_text()
    assert without in text
    example.write_text(text.replace(without, ""))
    (example.parent / "node_modules").symlink_to(node_packages())
    return ["node", str(example)]


def in_go(folder: Path) -> list[str]:
    """The example in Go, compiled with what buf.gen.yaml makes of the protos."""
    if (
        not all(map(shutil.which, GO_PROGRAMS))
        or not (GO_SOURCES / "src/google.golang.org").is_dir()
    ):
        pytest.skip("Go, its plugins for protoc or the sources of grpc are not installed")
    template = yaml.safe_load((ROOT / "buf.gen.yaml").read_text())
    template["plugins"] = [
        plugin for plugin in template["plugins"] if plugin.get("local", "") in GO_PROGRAMS
    ]
    buf = Path(sys.executable).with_name("buf")
    made = run(buf, "generate", "--template", json.dumps(template), "-o", folder, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    sources = folder / "go" / "src"
    shutil.copytree(folder / "build/clients/go", sources)
    shutil.copytree(CLIENTS / "go", sources / "client")
    built = run(
        "go",
        *("build", "-o", folder / "client", "client"),
        cwd=folder,
        GO111MODULE="off",
        GOPATH=f"{sources.parent}:{GO_SOURCES}",
        GOCACHE=ROOT / "out" / "tools" / "go-cache",
    )
    assert built.returncode == 0, built.stderr
    return [str(folder / "client")]


async def ask(command: list[str], serve: Serve, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a client before a front whose answer is larger than libraries take by themselves."""
    face = generator_pb2.Face(seed=SEED, image=image_pb2.Image(data=PICTURE))
    answer = generator_pb2.GenerateResponse(faces=[face]).SerializeToString()
    engine = FakeEngine()
    engine.outcomes = [
        engine_pb2.EngineBatchResult(results=[engine_pb2.EngineResult(response=answer)])
    ]
    front = await serve(engine)
    done = await asyncio.to_thread(run, *command, f"127.0.0.1:{front.port}", str(SEED), cwd=folder)
    ((request,),) = engine.batches
    assert list(generator_pb2.GenerateRequest.FromString(request).seeds) == [SEED]
    return done


@pytest.mark.parametrize("client", [in_node, in_go])
async def test_the_example_takes_large_answers_and_large_seeds(
    client: Callable[[Path], list[str]], serve: Serve, tmp_path: Path
) -> None:
    done = await ask(client(tmp_path), serve, tmp_path)

    assert (done.stdout, done.stderr) == (f"{SEED} {len(PICTURE)}\n", "")
    assert (tmp_path / f"seed{SEED}.png").read_bytes() == PICTURE


async def test_without_its_line_the_example_takes_4_mib(serve: Serve, tmp_path: Path) -> None:
    done = await ask(in_node(tmp_path, without=LIMIT), serve, tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("RESOURCE_EXHAUSTED: ")
