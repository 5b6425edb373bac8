"""What pods may ask of the API server: asked for real, with the tokens that pods have."""

import json
from typing import Any

import pytest
from tests.cluster.cluster import NAMESPACE, Cluster

pytestmark = pytest.mark.cluster

# What the API server answers to requests with the pod's own token: the code of each.
_ASK = """
import json, ssl, sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen
account = "/var/run/secrets/kubernetes.io/serviceaccount"
trust = ssl.create_default_context(cafile=f"{account}/ca.crt")
headers = {"Authorization": "Bearer " + open(f"{account}/token").read()}
for method, path in json.loads(sys.argv[1]):
    body = b"{}" if method == "POST" else None
    request = Request(f"https://kubernetes.default.svc{path}", body, headers, method=method)
    try:
        print(urlopen(request, context=trust).status)
    except HTTPError as refusal:
        print(refusal.code)
"""
_OWN, _OTHER = f"namespaces/{NAMESPACE}", "namespaces/default"


def test_the_pipeline_service_reaches_its_jobs_and_nothing_else(cluster: Cluster) -> None:
    allowed = [("GET", f"/apis/batch/v1/{_OWN}/jobs"), ("GET", f"/api/v1/{_OWN}/pods")]
    refused = [
        ("GET", f"/api/v1/{_OWN}/secrets"),
        ("GET", f"/api/v1/{_OWN}/configmaps"),
        ("POST", f"/api/v1/{_OWN}/pods"),
        ("DELETE", f"/api/v1/{_OWN}/pods/any"),
        ("GET", f"/apis/apps/v1/{_OWN}/deployments"),
        ("GET", f"/apis/batch/v1/{_OTHER}/jobs"),
        ("POST", f"/apis/batch/v1/{_OTHER}/jobs"),
        ("GET", f"/api/v1/{_OTHER}/pods"),
        ("GET", "/apis/batch/v1/jobs"),
        ("GET", "/api/v1/nodes"),
    ]
    asked = json.dumps(allowed + refused)
    answers = cluster.kubectl("exec", "deploy/pipeline", "--", "python", "-c", _ASK, asked)

    assert answers.split() == ["200"] * len(allowed) + ["403"] * len(refused)


def test_a_pod_of_the_default_account_is_refused(cluster: Cluster) -> None:
    """Even when it asks for a token, as none of Faceloom's own does."""
    requests = [("GET", f"/apis/batch/v1/{_OWN}/jobs"), ("POST", f"/apis/batch/v1/{_OWN}/jobs")]
    [pipeline] = cluster.pods("pipeline")
    spec: dict[str, Any] = json.loads(cluster.kubectl("get", "pod", pipeline, "-o", "json"))["spec"]
    container = spec["containers"][0]
    stranger = {
        "name": "stranger",
        "image": container["image"],
        "command": ["python", "-c", _ASK, json.dumps(requests)],
        "securityContext": container["securityContext"],
    }
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "stranger"},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": spec["securityContext"],
                "automountServiceAccountToken": True,
                "containers": [stranger],
            },
        }
    )
    answers = cluster.logs_when_ended("stranger")
    cluster.kubectl("delete", "pod", "stranger")

    assert answers.split() == ["403", "403"]


@pytest.mark.parametrize(
    "deployment", ["generator", "quality", "sketch", "segmentation", "translator", "studio"]
)
def test_the_others_have_no_token(deployment: str, cluster: Cluster) -> None:
    command = ["exec", f"deploy/{deployment}", "--", "ls", "/var/run/secrets"]
    done = cluster.try_kubectl(*command)

    assert done.returncode != 0
    assert "No such file" in done.stderr
