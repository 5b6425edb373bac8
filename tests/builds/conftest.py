"""A build in a folder of its own, with services that answer at once."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices
from tests.builds.job_builds import Setup
from tests.builds.object_store import ObjectStore, object_store

from faceloom.builds.options import BuildOptions
from faceloom.builds.progress import BuildProgress
from faceloom.builds.retrying import Patience
from faceloom.builds.run import Result, run_build
from faceloom.datasets.spec import BuildSpec

IMPATIENT = Patience(silence=0.2, first_delay=0.0, longest_delay=0.0)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Awaitable[Result]]:
    """Runs a build in `tmp_path / "out"`."""

    async def run(
        spec: BuildSpec,
        options: BuildOptions | None = None,
        services: FakeServices | None = None,
        on_progress: Callable[[BuildProgress], None] = lambda progress: None,
    ) -> Result:
        client = (services or FakeServices()).client()
        chosen = options or BuildOptions(patience=IMPATIENT)
        return await run_build(spec, tmp_path / "out", client, chosen, on_progress)

    return run


@pytest.fixture(scope="session")
def running_store() -> Iterator[ObjectStore]:
    """A store for all tests."""
    with object_store() as store:
        yield store


@pytest.fixture
def store(
    running_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    """The store, known to this process and to those that it starts."""
    for name, value in running_store.environment.items():
        monkeypatch.setenv(name, value)
    # Who is killed leaves its scratch behind.
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    yield running_store
    running_store.mend()


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """A pipeline service that makes Jobs."""
    return Setup(tmp_path, monkeypatch)
