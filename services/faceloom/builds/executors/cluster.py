"""The few calls that builds make to the API server. Objects go in and come out as JSON.

The only module that imports the `kubernetes` client, and only when a cluster is used.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError
from yaml import YAMLError

from faceloom.builds.cancellation import to_end
from faceloom.builds.executors.job import KubernetesObject
from faceloom.core.errors import FailedPrecondition, Unavailable, UsageError

log = logging.getLogger(__name__)

_SECONDS = 30
_NOT_FOUND, _CONFLICT = 404, 409
_PASSING = (429, 500, 502, 503, 504)
_RETRY_SECONDS = (0.5, 2.0, 8.0)
_LONGEST_MESSAGE = 1024  # of an event


class Cluster:
    """One namespace of a cluster, as this process may use it.

    Raises:
        UsageError: This process is in no pod, and no kubeconfig says where a cluster is.
    """

    def __init__(self, namespace: str) -> None:
        try:
            try:
                config.load_incluster_config()
            except ConfigException:
                config.load_kube_config()
        except ConfigException as error:
            raise UsageError(f"there is no cluster to use: {error}") from None
        except (OSError, ValueError, TypeError, YAMLError):
            raise UsageError("KUBECONFIG names a file that is no kubeconfig") from None
        self._namespace = namespace
        self._batch: Any = client.BatchV1Api()
        self._core: Any = client.CoreV1Api()
        self._version: Any = client.VersionApi()

    async def version(self) -> tuple[int, int]:
        """The API server's, for example (1, 33)."""
        found = await self._call("read its version", self._version.get_code)
        # Providers write "27+".
        major, minor = (re.sub(r"\D.*", "", found[part]) for part in ("major", "minor"))
        return int(major), int(minor)

    async def create_job(self, manifest: KubernetesObject) -> KubernetesObject | None:
        """The new Job; nothing if there is one of that name."""
        made: KubernetesObject | None = await self._call(
            "create Jobs", self._batch.create_namespaced_job, self._namespace, manifest
        )
        return made

    async def job(self, name: str) -> KubernetesObject | None:
        """The Job of that name, unless it is being deleted."""
        read = self._batch.read_namespaced_job
        found: KubernetesObject | None = await self._call("read Jobs", read, name, self._namespace)
        return found if found and "deletionTimestamp" not in found["metadata"] else None

    async def delete_job(self, name: str) -> None:
        """Removes a Job, if it is there; its pods are told to stop."""
        await self._call(
            "delete Jobs",
            self._batch.delete_namespaced_job,
            name,
            self._namespace,
            propagation_policy="Background",
        )

    async def pods(self, job: KubernetesObject, phases: str) -> list[KubernetesObject]:
        """Pods of a Job, and of no earlier Job of its name.

        Args:
            job: The Job.
            phases: A field selector, for example `status.phase=Failed`.
        """
        found = await self._call(
            "list pods",
            self._core.list_namespaced_pod,
            self._namespace,
            label_selector=f"controller-uid={job['metadata']['uid']}",
            field_selector=phases,
        )
        return list((found or {}).get("items", ()))

    async def events(self, job: KubernetesObject) -> list[KubernetesObject]:
        """What happened to a Job, the latest last."""
        found = await self._call(
            "list events",
            self._core.list_namespaced_event,
            self._namespace,
            field_selector=f"involvedObject.uid={job['metadata']['uid']}",
        )
        items = (found or {}).get("items", ())
        return sorted(items, key=lambda event: str(event.get("lastTimestamp") or ""))

    async def warn(self, job: str, reason: str, message: str) -> None:
        """Adds a warning about a Job, which need not be there any more, to the events."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "metadata": {"generateName": f"{job}-"},
            "involvedObject": {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": job,
                "namespace": self._namespace,
            },
            "type": "Warning",
            "reason": reason,
            "message": message[:_LONGEST_MESSAGE],
            "source": {"component": "faceloom-pipeline"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._call(
            "create events", self._core.create_namespaced_event, self._namespace, event
        )

    async def _call(
        self, what: str, call: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Any:
        """The answer to one request; nothing when what it names is not there, or there already.

        Raises:
            FailedPrecondition: The API server refuses it.
            Unavailable: The API server does not answer.
        """

        def send() -> Any:
            # Raw, because the client's own classes refuse what they do not know.
            answer = call(*arguments, **options, _preload_content=False, _request_timeout=_SECONDS)
            return json.loads(answer.data)

        for delay in (*_RETRY_SECONDS, None):
            try:
                # To its end: a Job that nobody waits for must not be made behind a cancellation.
                return await to_end(send)
            except ApiException as error:
                if error.status in (_NOT_FOUND, _CONFLICT):
                    return _absent(error, what)
                if error.status not in _PASSING:
                    raise FailedPrecondition(
                        f"the API server does not let the pipeline service {what} in namespace"
                        f" {self._namespace}: {_message(error)}",
                        reason="CLUSTER_REFUSES",
                    ) from None
                cause = _message(error)
            except (HTTPError, OSError) as error:
                cause = str(error)
            if delay is None:
                raise Unavailable(f"the API server does not answer: {cause}", reason="UNREACHABLE")
            log.info("trying again", extra={"service": "API server", "cause": cause})
            await asyncio.sleep(delay)
        return None


def _absent(error: Any, what: str) -> None:
    # A namespace that is not there must not look like a Job that is not there.
    if error.status == _NOT_FOUND and what == "create Jobs":
        raise FailedPrecondition(_message(error), reason="CLUSTER_REFUSES")


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"
