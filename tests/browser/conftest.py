"""A browser before the studio, the studio before the real stack, and a dataset that was built through it."""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.builds.fake_services import FakeServices
from tests.stacks import RunningStack
from tests.studio.process import running_studio
from tests.torchserve.test_builds import finish, start_build

from faceloom.builds.options import BuildOptions
from faceloom.builds.run import run_build
from faceloom.datasets.spec import MAX_SEED, BuildSpec

CANDIDATES = 128
MANY = 400
# What a browser says of every answer that is an error; pages tell people.
_REFUSED = "Failed to load resource"

# Of what a page asks of the services, on a machine that has much else to do.
expect.set_options(timeout=60_000)


@dataclass(frozen=True)
class Studio:
    """A studio that listens.

    Args:
        url: Where.
        root: Its datasets: `faces` and `large-seeds`, of the real models, and `many`, of none.
        labels: The URL of its labels.
    """

    url: str
    root: Path
    labels: str


@pytest.fixture(scope="session")
def studio(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    many = run_build(
        BuildSpec(MANY),
        folder / "out" / "many",
        FakeServices().client(),
        BuildOptions(),
        lambda _: None,
    )
    asyncio.run(many)
    large = ("--candidates", "64", "--seed", str(MAX_SEED))
    finish(start_build(folder / "out" / "large-seeds", stack, *large))
    finish(start_build(folder / "out" / "faces", stack, "--candidates", str(CANDIDATES)))
    labels = f"sqlite:///{folder / 'labels.db'}"
    with running_studio(folder / "out", labels, stack.port_offset) as (_, url):
        yield Studio(url, folder / "out", labels)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not for longer: Playwright's event loop keeps others from running."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a new visitor; what its scripts complain of fails the test."""
    visitor = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = visitor.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    yield page
    visitor.close()
    assert [said for said in complaints if not said.startswith(_REFUSED)] == []
