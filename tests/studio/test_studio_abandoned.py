"""A browser that does not wait any more, for example because a stroke has overtaken the one before."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from tests.contract.fronts import free_port, scrape
from tests.fakes import FakeEngine, fake_service
from tests.studio.process import running_studio

from faceloom.generator.v1 import generator_pb2
from faceloom.runtime.front import Front


async def test_what_nobody_waits_for_is_not_computed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (root / "faces" / "rejected.jsonl").read_text().splitlines()
    first, abandoned, last = map(json.loads, lines[:3])
    engine, metrics = FakeEngine(gated=True), free_port()
    front = Front(fake_service(), engine, "127.0.0.1:0", metrics)
    await front.start()
    monkeypatch.setenv("FACELOOM_TARGETS", json.dumps({"generator": f"127.0.0.1:{front.port}"}))

    async def in_flight(count: int) -> None:
        async with asyncio.timeout(30):
            while f"faceloom_inflight_requests {count}.0" not in await scrape(metrics):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    with running_studio(root, f"sqlite:///{tmp_path / 'labels.db'}") as (_, url):
        async with aiohttp.ClientSession(url) as browser:

            async def look(row: dict[str, object]) -> None:
                query = {"dataset": "faces", "id": str(row["id"])}
                async with browser.get("/api/picture", params=query) as answer:
                    await answer.read()

            looking = [asyncio.create_task(look(first))]
            await in_flight(1)
            waiting = asyncio.create_task(look(abandoned))
            await in_flight(2)
            waiting.cancel()
            await in_flight(1)
            looking.append(asyncio.create_task(look(last)))
            await in_flight(2)
            engine.open_gates()
            await asyncio.gather(*looking)

    await front.stop(grace=0)

    computed = [generator_pb2.GenerateRequest.FromString(call.request) for call in engine.calls]
    assert [list(request.seeds) for request in computed] == [[first["seed"]], [last["seed"]]]
