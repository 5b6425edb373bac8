"""A service's pods are replaced while somebody calls it."""

import json
from typing import Any

import pytest
from tests.cluster.cluster import NAMESPACE, Cluster, within

pytestmark = pytest.mark.cluster

TARGET = f"dns:///quality-pods.{NAMESPACE}.svc.cluster.local:50051"


def test_no_call_of_a_steady_client_fails_in_a_rolling_update(cluster: Cluster) -> None:
    client = cluster.start_inside("tests.cluster.steady_client", TARGET)
    try:
        answered(client, 50)
        [old] = cluster.pods("quality")
        cluster.kubectl("rollout", "restart", "deployment/quality")
        cluster.kubectl("rollout", "status", "deployment/quality", "--timeout=180s")
        cluster.kubectl("wait", "--for=delete", f"pod/{old}", "--timeout=120s")
        [new] = cluster.pods("quality")
        assert new != old
        last = answered(client, so_far(client)["client"]["answered"] + 50)
    finally:
        client.communicate()
    print(f"{last['client']['answered']} calls; without retries failed: {last['bare']['failed']}")
    assert last["client"]["failed"] == []
    assert last["bare"]["answered"] > 50


def answered(client: Any, calls: int) -> dict[str, Any]:
    """How its calls went, when so many were answered or one failed."""

    def come() -> dict[str, Any] | None:
        now = so_far(client)
        return now if now["client"]["answered"] >= calls or now["client"]["failed"] else None

    return dict(within(60, "the service answers nothing", come))


def so_far(client: Any) -> dict[str, Any]:
    client.stdin.write("\n")
    client.stdin.flush()
    return dict(json.loads(client.stdout.readline()))
