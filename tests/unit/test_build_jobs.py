"""What a Job is made of, and what is read from its objects."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faceloom.builds.executors.diagnosis import given_up, why_failed, why_waiting
from faceloom.builds.executors.job import job_manifest, job_name
from faceloom.builds.executors.settings import ClusterSettings, cluster_settings
from faceloom.builds.service.records import BuildOrder
from faceloom.core.errors import UsageError
from faceloom.datasets.place import ObjectUrl
from faceloom.datasets.spec import BuildSpec

ORDER = BuildOrder("one", BuildSpec(candidates=1000), Path("/data/builds/one"), 4, 2, False)
SETTINGS = ClusterSettings(worker_image="faceloom/pipeline:1", namespace="faceloom")


def pod(
    index: int, code: int = 1, created: int = 0, said: str = "", **status: Any
) -> dict[str, Any]:
    ended = {"exitCode": code, "message": said, "reason": "Error"}
    return {
        "metadata": {
            "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
            "creationTimestamp": f"2026-01-01T00:00:{created:02d}Z",
        },
        "status": {
            "containerStatuses": [{"name": "worker", "state": {"terminated": ended}}],
            **status,
        },
    }


def test_a_job_has_an_index_per_shard_and_a_policy_for_exit_codes() -> None:
    spec = job_manifest(SETTINGS, ORDER, 100, (1, 33))["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == (
        "Indexed",
        100,
        32,
    )
    assert spec["backoffLimitPerIndex"] == 3
    assert "backoffLimit" not in spec
    actions = [
        (rule["action"], rule.get("onExitCodes", {}).get("values"))
        for rule in spec["podFailurePolicy"]["rules"]
    ]
    assert actions == [
        ("Ignore", None),
        ("Ignore", [143]),
        ("FailJob", [2, 78]),
        ("FailIndex", [65]),
    ]


def test_an_old_api_server_gets_no_field_that_it_would_drop() -> None:
    spec = job_manifest(SETTINGS, ORDER, 100, (1, 28))["spec"]
    assert not spec.keys() & {"backoffLimitPerIndex", "maxFailedIndexes", "podFailurePolicy"}
    # The controller must not give up before the pipeline service does.
    assert spec["backoffLimit"] >= 100 * SETTINGS.attempts


def test_workers_are_confined_and_know_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_TARGETS", '{"generator": "dns:///generator-pods:50051"}')
    spec = job_manifest(SETTINGS, ORDER, 4, (1, 33))["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["command"][:5] == ["faceloom", "jobs", "work", "--output", "/data/builds/one"]
    assert {
        "name": "FACELOOM_TARGETS",
        "value": '{"generator": "dns:///generator-pods:50051"}',
    } in (container["env"])


def test_workers_send_their_spans_where_the_service_does_but_get_none_of_its_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    (container,) = job_manifest(SETTINGS, ORDER, 4, (1, 33))["spec"]["template"]["spec"][
        "containers"
    ]
    told = {one["name"]: one["value"] for one in container["env"] if "OTEL" in one["name"]}
    assert told == {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}


def test_workers_give_way_where_the_operator_says_how() -> None:
    told = SETTINGS.model_copy(update={"worker_priority": "faceloom-builds"})
    for settings, priority in ((told, "faceloom-builds"), (SETTINGS, None)):
        spec = job_manifest(settings, ORDER, 4, (1, 33))["spec"]["template"]["spec"]
        assert spec.get("priorityClassName") == priority


def test_workers_for_an_object_store_need_no_volume_but_what_opens_the_store() -> None:
    order = replace(ORDER, output=ObjectUrl("faces", "one"))
    known = SETTINGS.model_copy(update={"store_secret": "object-store"})
    spec = job_manifest(known, order, 4, (1, 33))["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"][3:5] == ["--output", "s3://faces/one"]
    assert container["envFrom"] == [{"secretRef": {"name": "object-store", "optional": True}}]
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp"]
    assert spec["volumes"][0]["emptyDir"]["sizeLimit"] == known.worker_scratch


def test_workers_for_a_folder_are_told_no_secret() -> None:
    known = SETTINGS.model_copy(update={"store_secret": "object-store"})
    spec = job_manifest(known, ORDER, 4, (1, 33))["spec"]["template"]["spec"]
    assert not spec["containers"][0]["envFrom"]
    assert [volume["name"] for volume in spec["volumes"]] == ["data", "tmp"]


def test_a_queue_holds_the_job_back() -> None:
    queued = SETTINGS.model_copy(update={"queue": "night"})
    job = job_manifest(queued, ORDER, 4, (1, 33))
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "night"
    waiting = why_waiting(job, [], [])
    assert waiting is not None and waiting.queued
    assert job["metadata"]["name"] == job_name(ORDER)


@pytest.mark.parametrize(
    "failed",
    [
        [],
        [pod(1), pod(2), pod(3)],
        [pod(1, code=143, created=at) for at in range(9)],
        [pod(1, conditions=[{"type": "DisruptionTarget", "status": "True"}]) for _ in range(9)],
        [pod(1, code=65, reason="Evicted")],
    ],
)
def test_disruptions_and_single_failures_do_not_end_a_job(failed: list[dict[str, Any]]) -> None:
    assert given_up(failed, attempts=2) == ""


@pytest.mark.parametrize(
    ("failed", "why"),
    [
        ([pod(7, created=1, said="faceloom: first"), pod(7, created=2, said="log\nfaceloom: last")],
         "shard 7 failed 2 times; its worker ended with exit code 1: last"),
        ([pod(3, code=65, said="faceloom: other")],
         "shard 3 failed once; its worker ended with exit code 65: other"),
        ([pod(3, code=78)], "shard 3 failed once; its worker ended with exit code 78: Error"),
    ],
)  # fmt: skip
def test_why_a_job_is_ended_early(failed: list[dict[str, Any]], why: str) -> None:
    assert given_up(failed, attempts=2) == why


def test_why_a_job_failed_is_what_failed_most() -> None:
    ended = [{"type": "Failed", "status": "True", "reason": "FailedIndexes"}]
    job = {"spec": {}, "status": {"conditions": ended}}
    failed = [
        pod(1, created=5, code=143),
        pod(2, said="bad"),
        pod(2, created=3, said="worse"),
        pod(4),
    ]
    assert why_failed(job, failed).startswith("shard 2 failed 2 times")
    assert why_failed(job, failed).endswith("worse")
    assert why_failed(job, []) == "the Job failed: FailedIndexes"


def test_a_deadline_is_named_whatever_failed() -> None:
    ended = [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]
    job = {"spec": {"activeDeadlineSeconds": 60}, "status": {"conditions": ended}}
    assert why_failed(job, [pod(1)]) == "the Job took longer than its deadline of 60 s"


def test_one_running_worker_is_enough() -> None:
    job: dict[str, Any] = {"spec": {}}
    running, pending = {"status": {"phase": "Running"}}, {"status": {"phase": "Pending"}}
    assert why_waiting(job, [pending, running], []) is None
    nobody = why_waiting(job, [pending], [])
    assert nobody is not None and not nobody.hopeless


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "set FACELOOM_WORKER_IMAGE"),
        ({"WORKER_IMAGE": "it"}, "set FACELOOM_NAMESPACE"),
        ({"WORKER_IMAGE": "it", "ATTEMPTS": "few"}, "FACELOOM_ATTEMPTS=few: give a valid integer"),
    ],
)
def test_bad_settings_say_what_to_set(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"FACELOOM_{name}", value)
    with pytest.raises(UsageError, match=said):
        cluster_settings()


def test_without_a_cluster_its_client_library_is_not_needed() -> None:
    code = (
        "import sys; sys.modules['kubernetes'] = None;"
        "import faceloom.cli.serve_pipeline, faceloom.cli.jobs, faceloom.builds.executors.job"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
