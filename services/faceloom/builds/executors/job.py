"""The Job of a build: an index for every shard, a pod for every try."""

import os
from pathlib import Path
from typing import Any, Final

from faceloom.builds.executors.settings import ClusterSettings
from faceloom.builds.service.records import BuildOrder
from faceloom.builds.worker import DETERMINISTIC, MISCONFIGURED, STOPPED

# As Kubernetes has it in JSON.
KubernetesObject = dict[str, Any]

CONTAINER: Final = "worker"
BUILD_LABEL: Final = "faceloom/build"
# From this version on the Job controller counts tries per index, and acts on exit codes.
PER_INDEX_RETRIES: Final = (1, 29)
# So many shards may be given up before the others are not worth finishing.
_GIVEN_UP = 10
_BAD_USAGE = 2
_KEPT_SECONDS = 86_400
_USER = 10001
# What tells this process where the services are, and where spans go, tells the workers, too. Headers are
# not told: they hold secrets, which a Job would show.
_PASSED_ON = (
    "FACELOOM_TARGETS",
    "FACELOOM_HOST",
    "FACELOOM_PORT_OFFSET",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
)
_SCRATCH = "256Mi"
_LOCAL_FILES = "512Mi"


def job_name(order: BuildOrder) -> str:
    """Follows from the build, so that a service that was restarted finds its Job."""
    return f"faceloom-build-{order.build_id}"


def job_manifest(
    settings: ClusterSettings, order: BuildOrder, shards: int, version: tuple[int, int]
) -> KubernetesObject:
    """The Job.

    Args:
        settings: What the operator decided.
        order: What is built.
        shards: How many workers there are to be.
        version: The API server's; an older one is not told what it would drop.
    """
    labels = {
        "app.kubernetes.io/name": "build-worker",
        "app.kubernetes.io/component": "build-worker",
        "app.kubernetes.io/part-of": "faceloom",
        "app.kubernetes.io/managed-by": "faceloom-pipeline",
        BUILD_LABEL: order.build_id,
    }
    spec: KubernetesObject = {
        "completionMode": "Indexed",
        "completions": shards,
        "parallelism": min(settings.parallelism, shards),
        "activeDeadlineSeconds": settings.deadline_seconds,
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "template": {"metadata": {"labels": labels}, "spec": _pod(settings, order)},
    }
    if version >= PER_INDEX_RETRIES:
        spec |= _retries(settings, shards)
    else:
        spec["backoffLimit"] = shards * settings.attempts
    queue = {"kueue.x-k8s.io/queue-name": settings.queue} if settings.queue else {}
    if queue:
        spec["suspend"] = True
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(order),
            "namespace": settings.namespace,
            "labels": labels | queue,
            "annotations": {
                "faceloom/output": str(order.output),
                "faceloom/request-id": order.request_id,
            },
        },
        "spec": spec,
    }


def _retries(settings: ClusterSettings, shards: int) -> KubernetesObject:
    def on_exit(action: str, *codes: int) -> KubernetesObject:
        matched = {"containerName": CONTAINER, "operator": "In", "values": sorted(codes)}
        return {"action": action, "onExitCodes": matched}

    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return {
        "backoffLimitPerIndex": settings.attempts - 1,
        "maxFailedIndexes": min(_GIVEN_UP, shards),
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [disrupted]},
                on_exit("Ignore", STOPPED),
                on_exit("FailJob", _BAD_USAGE, MISCONFIGURED),
                on_exit("FailIndex", DETERMINISTIC),
            ]
        },
    }


def _pod(settings: ClusterSettings, order: BuildOrder) -> KubernetesObject:
    in_folder = isinstance(order.output, Path)
    priority = {"priorityClassName": settings.worker_priority} if settings.worker_priority else {}
    scratch = _SCRATCH if in_folder else settings.worker_scratch
    return {
        **priority,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(settings, order)],
        "volumes": [
            *([_data_volume(settings)] if in_folder else []),
            {"name": "tmp", "emptyDir": {"sizeLimit": scratch}},
        ],
    }


def _container(settings: ClusterSettings, order: BuildOrder) -> KubernetesObject:
    command = ["faceloom", "jobs", "work", "--output", str(order.output)]
    command += ["--blocks", str(order.blocks)]
    if order.retry_failed:
        command.append("--retry-failed")
    in_folder = isinstance(order.output, Path)
    files = _LOCAL_FILES if in_folder else settings.worker_scratch
    memory = settings.worker_memory
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"HOME": "/tmp", "PYTHONUNBUFFERED": "1"}
    data = [{"name": "data", "mountPath": str(settings.data_path)}] if in_folder else []
    return {
        "name": CONTAINER,
        "image": settings.worker_image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "envFrom": [] if in_folder else _credentials(settings),
        # The last line of the log becomes the reason in the pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {
            "requests": {"cpu": "250m", "memory": memory, "ephemeral-storage": "64Mi"},
            "limits": {"memory": memory, "ephemeral-storage": files},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [*data, {"name": "tmp", "mountPath": "/tmp"}],
    }


def _data_volume(settings: ClusterSettings) -> KubernetesObject:
    return {"name": "data", "persistentVolumeClaim": {"claimName": settings.data_claim}}


def _credentials(settings: ClusterSettings) -> list[KubernetesObject]:
    """What the store wants to know; a worker without it says what is missing."""
    if not settings.store_secret:
        return []
    return [{"secretRef": {"name": settings.store_secret, "optional": True}}]
