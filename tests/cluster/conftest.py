"""One cluster for all tests of this folder: its images are built, the ci overlay is deployed and ready."""

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.cluster.cluster import TOOLS, Cluster
from tests.cluster.datasets import Local, build_here
from tests.cluster.named import NamedCluster
from tests.cluster.pipeline_api import PipelineApi, pipeline_api
from tests.deploy.rendering import kustomize

# The first test waits for the images.
_SECONDS = 1800
# A build that nobody works for fails when the pods of the one before have had time to end, and a shard is
# given up after two tries.
_IMPATIENT = {
    "FACELOOM_POLL_SECONDS": "0.5",
    "FACELOOM_STALL_SECONDS": "45",
    "FACELOOM_ATTEMPTS": "2",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first of them waits for everything."""
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport]:
    """A test that fails shows what an operator would look at; the cluster is gone afterwards."""
    report = yield
    if report.failed and "cluster" in getattr(item, "funcargs", {}):
        report.sections.append(("the cluster", item.funcargs["cluster"].shown()))
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster with every service ready."""
    kustomize()  # skips, too
    if context := os.environ.get("FACELOOM_TEST_CLUSTER"):
        if not shutil.which("kubectl"):
            pytest.skip("FACELOOM_TEST_CLUSTER is set, and there is no kubectl")
        yield from _ready(NamedCluster(context))
        return
    if not (TOOLS / "up").is_file():
        pytest.skip(
            f"no test cluster at {TOOLS}; FACELOOM_TEST_CLUSTER names one that is there already"
        )
    if os.geteuid() != 0:
        pytest.skip("the test cluster needs root")
    with tempfile.TemporaryDirectory(prefix="faceloom-") as folder:
        yield from _ready(Cluster(Path(folder)))


def _ready(made: Cluster) -> Iterator[Cluster]:
    with made.running():
        made.build_images()
        made.deploy(**_IMPATIENT)
        yield made


@pytest.fixture(scope="session")
def pipeline(cluster: Cluster) -> Iterator[PipelineApi]:
    """The pipeline service in it."""
    with pipeline_api(cluster) as api:
        yield api


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Local:
    """A dataset of a few blocks, made on this machine."""
    return build_here(tmp_path_factory.mktemp("small") / "dataset", candidates=192)
