"""`python -m tests.contract.front_process PORT`: the quality service without a network, to be killed.

A batch takes 20 ms, and prints a line. Every score is 0.25.
"""

import asyncio
import sys

from tests.fakes import FakeEngine

from faceloom.common.v1 import engine_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.batch import Waits, everybody_waits
from faceloom.runtime.front import Front
from faceloom.runtime.server import until_stopped
from faceloom.runtime.service import service


class Scores(FakeEngine):
    """Answers every picture with the same score."""

    async def predict(
        self, batch: engine_pb2.EngineBatch, waits: Waits = everybody_waits
    ) -> engine_pb2.EngineBatchResult:
        await asyncio.sleep(0.02)
        print(len(batch.calls), flush=True)
        return engine_pb2.EngineBatchResult(results=[_score(call) for call in batch.calls])


def _score(call: engine_pb2.EngineCall) -> engine_pb2.EngineResult:
    asked = quality_pb2.ClassifyRequest.FromString(call.request)
    answer = quality_pb2.ClassifyResponse(
        qualities=[quality_pb2.Quality(score=0.25) for _ in asked.images]
    )
    return engine_pb2.EngineResult(response=answer.SerializeToString())


async def main(port: str) -> None:
    """Serves until it is told to stop."""
    front = Front(service("quality"), Scores(), f"127.0.0.1:{port}")
    await front.start()
    await until_stopped()
    await front.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
