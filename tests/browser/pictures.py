"""`python -m tests.browser.pictures`: docs/studio.png, over a real stack. Needs Debian's package chromium."""

import asyncio
import io
import os
import tempfile
from pathlib import Path

from PIL import Image
from playwright.async_api import async_playwright
from tests.monitoring.rules import ROOT
from tests.studio.process import running_studio

from faceloom.builds.options import BuildOptions
from faceloom.cli.build_display import BuildDisplay
from faceloom.cli.build_service import build_in_service
from faceloom.datasets.spec import BuildSpec
from faceloom.runtime.stack import Stack, free_port_offset
from faceloom.store.package import package_profile

_PICTURE = ROOT / "docs" / "studio.png"
_FACE = 2


async def main() -> None:
    offset = free_port_offset()
    os.environ["FACELOOM_PORT_OFFSET"] = str(offset)
    with tempfile.TemporaryDirectory(prefix="faceloom-") as folder:
        archives, datasets = Path(folder, "mar"), Path(folder, "out")
        package_profile("tiny", archives)
        stack = Stack(archives, Path(folder, "stack"), offset)
        try:
            await stack.start()
            spec = BuildSpec(candidates=256)
            await build_in_service(
                spec, datasets / "faces", BuildOptions(), BuildDisplay(spec, quiet=True)
            )
            with running_studio(datasets, f"sqlite:///{folder}/labels.db", offset) as (_, address):
                picture = await photograph(address)
        finally:
            await stack.stop()
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").save(_PICTURE, optimize=True)


async def photograph(address: str) -> bytes:
    """A layout of a dataset, and the faces that it becomes."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = await browser.new_page(viewport={"width": 1180, "height": 900})
        await page.goto(f"{address}/gallery")
        await page.locator("#faces button").nth(_FACE).click()
        await page.locator("#draw-layout").click()
        await page.locator("#faces:not(.stale) img").nth(5).wait_for()
        picture = await page.screenshot()
        await browser.close()
    return picture


if __name__ == "__main__":
    asyncio.run(main())
