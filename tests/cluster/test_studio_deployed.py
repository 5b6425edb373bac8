"""The studio in the cluster: a build ordered there becomes faces to look at, to label and to draw on."""

import json
from typing import Any

import pytest
from tests.cluster.cluster import Cluster, within

pytestmark = pytest.mark.cluster

# Run in another pod: what the studio's Service answers to one request.
_ASK = """
import json, sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen
method, path, body = sys.argv[1:]
try:
    answer = urlopen(Request(f"http://studio:8600{path}", body.encode() or None, method=method))
except HTTPError as refusal:
    answer = refusal
print(json.dumps([answer.status, answer.read().decode("latin-1")]))
"""
_PERSON = "Ann"


class Pages:
    """What a browser would ask."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def ask(self, method: str, path: str, body: str = "") -> tuple[int, str]:
        """Status and body, as text in Latin-1."""
        python = ("exec", "deploy/pipeline", "--", "python", "-c", _ASK)
        status, text = json.loads(self._cluster.kubectl(*python, method, path, body))
        return status, text

    def get(self, path: str) -> Any:
        """The JSON that a path answers."""
        status, text = self.ask("GET", path)
        assert status == 200, text
        return json.loads(text)


def test_a_build_is_ordered_looked_at_labelled_and_drawn_on(cluster: Cluster) -> None:
    pages = Pages(cluster)
    order = {"request_id": "studio", "name": "studio", "candidates": 64}
    status, text = pages.ask("POST", "/api/builds", json.dumps(order))
    assert status == 201, text

    def over() -> Any:
        builds = pages.get("/api/builds")["builds"]
        [found] = [build for build in builds if build["name"] == "studio"]
        return found if found["ended"] else None

    build = within(240, "the studio's build does not end", over)
    assert build["state"] == "SUCCEEDED", build["error"]
    [face, *_] = pages.get("/api/faces?dataset=studio")["faces"]
    for kind in ("face", "sketch", "layout"):
        status, png = pages.ask("GET", f"/api/picture?dataset=studio&id={face['id']}&kind={kind}")
        assert (status, png[1:4]) == (200, "PNG")
    # Rejected ones are not on the volume: the generator makes them.
    for identity in pages.get(f"/api/labels/next?dataset=studio&person={_PERSON}&count=3")["faces"]:
        status, png = pages.ask("GET", f"/api/picture?dataset=studio&id={identity}")
        assert (status, png[1:4]) == (200, "PNG")
    word = {"dataset": "studio", "id": face["id"], "person": _PERSON, "label": "keep"}
    assert pages.ask("PUT", "/api/labels", json.dumps(word))[0] == 200
    # A bar on grey paper; arguments of a command hold no zero and nothing beyond ASCII.
    drawing = "\x7f" * 64 * 30 + "\x01" * 64 * 4 + "\x7f" * 64 * 30
    status, text = pages.ask(
        "POST", "/api/translate?task=sketch&size=64&variants=2&style_seed=1", drawing
    )
    assert status == 200, text
    assert len(json.loads(text)["faces"]) == 2


def test_labels_outlive_the_pod(cluster: Cluster) -> None:
    [before] = cluster.pods("studio")
    cluster.kubectl("delete", "pod", before)
    cluster.kubectl("rollout", "status", "deployment/studio", "--timeout=120s")
    [after] = cluster.pods("studio")
    dataset = ("--dataset", "/data/builds/studio", "--json")
    told = cluster.kubectl("exec", after, "--", "faceloom", "label", "status", *dataset)

    assert before != after
    assert json.loads(told)["people"] == {_PERSON: {"keep": 1, "reject": 0}}
