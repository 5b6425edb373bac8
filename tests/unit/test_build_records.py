"""What the pipeline service remembers of builds, as it lies in files."""

from typing import Any

from faceloom.builds.service.records import BuildRecord
from faceloom.datasets.spec import BuildSpec


def stored() -> dict[str, Any]:
    """A record of the first schema: no pool, and the blocks in flight under their first name."""
    spec = {"candidates": 400, "accepted": None, "seed": 7, "truncation_psi": 0.7}
    return {
        "order": {
            "request_id": "one",
            "spec": spec,
            "output": "/data/one",
            "shards": None,
            "jobs": 3,
            "retry_failed": False,
        },
        "create_time_ns": 1,
        "cancelled": False,
        "end": None,
    }


def test_an_old_record_is_read() -> None:
    order = BuildRecord.from_json(stored()).order

    assert order.blocks == 3
    assert order.spec == BuildSpec(candidates=400, seed=7)


def test_blocks_in_flight_keep_their_name_in_files() -> None:
    written = BuildRecord.from_json(stored()).to_json()["order"]

    assert written["jobs"] == 3
    assert "blocks" not in written
    assert BuildRecord.from_json({**stored(), "order": written}).order.blocks == 3
