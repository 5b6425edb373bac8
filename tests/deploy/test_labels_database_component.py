"""With the component `labels-database`, labels live in PostgreSQL, and there may be several studios."""

from pathlib import Path

from tests.deploy.rendering import of_kind, overlay, pods, render_with


def test_the_url_is_a_secret(tmp_path: Path) -> None:
    objects = render_with("labels-database", tmp_path)
    studio = of_kind(objects, "Deployment")["studio"]["spec"]
    [container] = pods(objects)["studio"]["spec"]["containers"]

    assert container["env"] == [
        {
            "name": "FACELOOM_LABELS",
            "valueFrom": {"secretKeyRef": {"name": "labels-database", "key": "url"}},
        }
    ]
    assert (studio["replicas"], studio["strategy"]) == (2, {"type": "RollingUpdate"})


def test_a_file_is_one_processes_own() -> None:
    for name in ("dev", "prod", "ci"):
        studio = of_kind(overlay(name), "Deployment")["studio"]["spec"]
        [container] = studio["template"]["spec"]["containers"]

        assert container["env"][0]["value"].startswith("sqlite:////data/")
        assert (studio["replicas"], studio["strategy"]) == (1, {"type": "Recreate"})


def test_the_policy_lets_the_studio_reach_it(tmp_path: Path) -> None:
    [policy] = of_kind(render_with("labels-database-egress", tmp_path), "NetworkPolicy").values()
    chosen = policy["spec"]["podSelector"]["matchLabels"]

    assert chosen.items() <= pods(overlay("prod"))["studio"]["metadata"]["labels"].items()
    assert [port["port"] for port in policy["spec"]["egress"][0]["ports"]] == [5432]
