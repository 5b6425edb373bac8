"""Something to see on the dashboards: builds, callers good and bad, a person who labels, an accident."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
from pathlib import Path

import aiohttp
import psutil

from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import ServiceError
from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.sketch.v1 import sketch_pb2
from faceloom.translator.v1 import translator_pb2

# One that ends, and one that still runs when the pictures are taken.
_CANDIDATES = (1536, 100_000)
_CANDIDATES_PER_SHARD = 128
_CALLERS = 2


async def play(folder: Path, studio: str, seconds: float) -> None:
    """Lets it all happen, for so long.

    Args:
        folder: For datasets; the studio's folder.
        studio: Its address.
        seconds: How long.
    """
    callers = (_caller(number) for number in range(_CALLERS))
    parts = [_builds(folder), _accident(seconds / 2), _visitor(studio), *callers]
    playing = [asyncio.create_task(part) for part in parts]
    done, pending = await asyncio.wait(playing, timeout=seconds)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def _builds(folder: Path) -> None:
    for number, candidates in enumerate(_CANDIDATES):
        size = ("--candidates", str(candidates))
        shards = ("--shards", str(candidates // _CANDIDATES_PER_SHARD))
        build = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "faceloom.cli.main", "build", "--json"),
            *("--out", str(folder / f"faces-{number}"), *size, *shards),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await build.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                build.kill()


async def _visitor(studio: str) -> None:
    """Labels faces as soon as there is a dataset."""
    chance = random.Random(0)
    async with aiohttp.ClientSession(studio) as http:
        whose = {"dataset": "faces-0", "person": "Ann"}
        while True:
            async with http.get("/api/labels/next", params=whose) as answer:
                faces = (await answer.json()).get("faces", [])
            for face in faces:
                async with http.get("/api/picture", params=whose | {"id": face}) as picture:
                    await picture.read()
                label = "keep" if chance.random() < 0.3 else "reject"
                async with http.put("/api/labels", json=whose | {"id": face, "label": label}):
                    await asyncio.sleep(chance.expovariate(1))
            await asyncio.sleep(1)


async def _caller(number: int) -> None:
    """Draws, judges and translates faces; every tenth time it asks for what nobody can answer."""
    chance = random.Random(number)
    async with Faceloom.connect() as faceloom:
        for turn in itertools.count():
            seed = chance.randrange(2**32)
            with contextlib.suppress(ServiceError):
                made = await faceloom.generate(generator_pb2.GenerateRequest(seeds=[seed]))
                pictures = [face.image for face in made.faces]
                await faceloom.classify(quality_pb2.ClassifyRequest(images=pictures))
                drawn = await faceloom.sketch(sketch_pb2.SketchRequest(images=pictures))
                for sketch in drawn.sketches:
                    await faceloom.translate(
                        translator_pb2.TranslateRequest(sketch=sketch, variants=2, style_seed=seed)
                    )
                if turn % 10 == 0:
                    nothing = image_pb2.Image(
                        format=image_pb2.IMAGE_FORMAT_PNG, data=b"not a picture"
                    )
                    await faceloom.classify(quality_pb2.ClassifyRequest(images=[nothing]))
            await asyncio.sleep(chance.expovariate(1))


async def _accident(after: float) -> None:
    await asyncio.sleep(after)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "model_service_worker.py" in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                return
