"""Fronts for tests, stopped when the test ends."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.registry import Collector
from tests.contract.fronts import Serve
from tests.fakes import FakeEngine, fake_service

from faceloom.runtime.front import Front


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a front before an engine; stops it at the end."""
    fronts: list[tuple[Front, FakeEngine]] = []

    async def start(
        engine: FakeEngine,
        metrics_port: int | None = None,
        engine_metrics: Collector | None = None,
        port: int = 0,
        **facts: Any,
    ) -> Front:
        service = fake_service(**facts)
        front = Front(service, engine, f"127.0.0.1:{port}", metrics_port, engine_metrics)
        await front.start()
        fronts.append((front, engine))
        return front

    yield start
    for front, engine in fronts:
        engine.open_gates()
        if not engine.closed:
            await front.stop(grace=0)
