"""Uses what docs/extending.md adds: `python -m tests.extending.added FOLDER`, in a copy that followed it.

Prints, for every face of a build that the new executor made with the new stage, what the dataset says of it.
"""

import asyncio
import importlib
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from faceloom import datasets
from faceloom.builds.executors.registry import executor
from faceloom.builds.service.records import BuildOrder
from faceloom.builds.verification import verify
from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.datasets.spec import BuildSpec
from faceloom.runtime.engine import InProcessEngine
from faceloom.runtime.front import Front
from faceloom.runtime.service import service
from faceloom.store.profile import model_folders

# Only the copy has it.
light_pb2: Any = importlib.import_module("faceloom.light.v1.light_pb2")


async def main(output: Path) -> None:
    """Starts fronts, and builds with them."""
    targets = {}
    async with AsyncExitStack() as stack:
        for name in ("generator", "quality", "light"):
            engine = InProcessEngine.load(service(name), model_folders("tiny", name))
            front = Front(service(name), engine, "127.0.0.1:0")
            await front.start()
            stack.push_async_callback(front.stop, grace=0)
            targets[name] = f"127.0.0.1:{front.port}"
        # Workers are told where the services are as this process is.
        os.environ["FACELOOM_TARGETS"] = json.dumps(targets)
        faceloom = await stack.enter_async_context(Faceloom.connect())
        spec = BuildSpec(candidates=128, stages=("light",))
        order = BuildOrder("one", spec, output, shards=2, blocks=1, retry_failed=False)
        await executor("processes", faceloom).run(order, lambda progress: None)
        for face, pictures in datasets.open(output).pictures("images", "light"):
            file = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=pictures["images"])
            asked = light_pb2.MeasureLightRequest(images=[file])
            (light,) = (await faceloom.measure_light(asked)).lights
            built = json.loads(pictures["light"])["light"]
            print(json.dumps({"file": face.files["images"], "asked": light.value, "built": built}))
    assert verify(output) == []


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
