"""Who may talk to whom: the arrows of the design and no other, as the policies are defined to be read."""

from pathlib import Path

import pytest
from tests.deploy.rendering import Object, of_kind, overlay, pods, render_with, worker_job

GRPC, METRICS, TORCHSERVE, HTTP = 50051, 9090, 8081, 8600
_NAMES = {"grpc": GRPC, "metrics": METRICS, "http": HTTP}
OWN = {"kubernetes.io/metadata.name": "faceloom"}
CLIENT = {"app.kubernetes.io/component": "client"}
WORKER: dict[str, str] = worker_job()["spec"]["template"]["metadata"]["labels"]


def labels_of(name: str) -> dict[str, str]:
    labels: dict[str, str] = pods(overlay("prod"))[name]["metadata"]["labels"]
    return labels


def chooses(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector chooses these labels."""
    listed = all(
        rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"]
        for rule in selector.get("matchExpressions", [])
    )
    return listed and selector.get("matchLabels", {}).items() <= labels.items()


def peer_matches(peer: Object, pod: dict[str, str], namespace: dict[str, str]) -> bool:
    """Whether a pod in a namespace is meant."""
    if "ipBlock" in peer:
        return False
    place = peer.get("namespaceSelector")
    here = namespace == OWN if place is None else chooses(place, namespace)
    return here and chooses(peer.get("podSelector", {}), pod)


def allows(
    direction: str,
    pod: dict[str, str],
    other: dict[str, str],
    port: int,
    namespace: dict[str, str] = OWN,
) -> bool:
    """Whether the policies that choose `pod` let it talk in that direction."""
    side = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[direction]
    policies = of_kind(overlay("prod"), "NetworkPolicy").values()
    mine = [one["spec"] for one in policies if chooses(one["spec"]["podSelector"], pod)]
    assert any(direction in policy["policyTypes"] for policy in mine), "nothing is denied"
    return any(
        any(_NAMES.get(one["port"], one["port"]) == port for one in rule["ports"])
        and any(peer_matches(peer, other, namespace) for peer in rule[side[1]])
        for policy in mine
        for rule in policy.get(side[0], [])
    )


@pytest.mark.parametrize(
    ("caller", "called", "allowed"),
    [
        (CLIENT, "generator", True),
        (WORKER, "generator", True),
        (CLIENT, "pipeline", True),
        ("pipeline", "quality", True),
        ("studio", "translator", True),
        ("studio", "pipeline", True),
        ("pipeline", "studio", False),
        ("generator", "quality", False),
        ("quality", "pipeline", False),
        (WORKER, "pipeline", False),
        ({"app": "stranger"}, "generator", False),
    ],
)
def test_calls(caller: str | dict[str, str], called: str, allowed: bool) -> None:
    pod = labels_of(caller) if isinstance(caller, str) else caller
    there = allows("Ingress", labels_of(called), pod, GRPC)

    assert (allows("Egress", pod, labels_of(called), GRPC) and there) == allowed
    assert there == allowed
    assert not allows("Ingress", labels_of(called), pod, TORCHSERVE)


@pytest.mark.parametrize("called", ["generator", "translator", "pipeline"])
def test_other_namespaces(called: str) -> None:
    pod = labels_of(called)
    clients = {"kubernetes.io/metadata.name": "studies", "faceloom/clients": "true"}
    prometheus = {"kubernetes.io/metadata.name": "monitoring"}
    stranger = {"kubernetes.io/metadata.name": "default"}

    assert allows("Ingress", pod, {}, GRPC, clients)
    assert allows("Ingress", pod, {}, METRICS, prometheus)
    assert not allows("Ingress", pod, {}, GRPC, prometheus)
    assert not allows("Ingress", pod, {}, METRICS, clients)
    assert not allows("Ingress", pod, {}, GRPC, stranger)


def test_people_reach_the_studio_from_a_namespace_of_clients() -> None:
    studio = labels_of("studio")
    clients = {"kubernetes.io/metadata.name": "ingress", "faceloom/clients": "true"}

    assert allows("Ingress", studio, {}, HTTP, clients)
    assert allows("Ingress", studio, {}, METRICS, {"kubernetes.io/metadata.name": "monitoring"})
    assert not allows("Ingress", studio, {}, HTTP, {"kubernetes.io/metadata.name": "default"})
    assert not allows("Ingress", studio, WORKER, HTTP)


def test_workers_reach_an_object_store_only_when_asked(tmp_path: Path) -> None:
    [policy] = of_kind(render_with("object-store-egress", tmp_path), "NetworkPolicy").values()

    chosen = policy["spec"]["podSelector"]
    assert chooses(chosen, WORKER)
    assert chooses(chosen, labels_of("pipeline"))
    assert not chooses(chosen, labels_of("generator"))
    assert "object-store" not in of_kind(overlay("prod"), "NetworkPolicy")


def test_only_the_pipeline_service_reaches_beyond_the_cluster() -> None:
    policies = of_kind(overlay("prod"), "NetworkPolicy")
    outward = {
        name
        for name, policy in policies.items()
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    }

    assert outward == {"pipeline"}
    chosen = policies["pipeline"]["spec"]["podSelector"]
    assert [name for name in pods(overlay("prod")) if chooses(chosen, labels_of(name))] == [
        "pipeline"
    ]
