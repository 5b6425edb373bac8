"""An admission in front of a fake engine."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.admissions import Admit
from tests.fakes import FakeEngine, fake_service

from faceloom.runtime.admission import Admission
from faceloom.runtime.metrics import FrontMetrics


@pytest.fixture
async def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def admit(registry: CollectorRegistry) -> AsyncIterator[Admit]:
    """Makes an Admission in front of an engine; closes it at the end."""
    made: list[tuple[Admission, FakeEngine]] = []

    def make(engine: FakeEngine, **facts: Any) -> Admission:
        service = fake_service(**facts)
        made.append(
            (Admission(service, engine, FrontMetrics(registry, service)), engine)  # type: ignore[arg-type]
        )
        return made[-1][0]

    yield make
    for admission, engine in made:
        if isinstance(engine, FakeEngine):
            engine.open_gates()
        await admission.close()
