"""Makes builds as Indexed Jobs: a worker pod makes each shard.

The service may be restarted at any moment: the Job's name follows from the build. A Job that ended is deleted
only after its end was told; if that fails, its time to live does it.
"""

import asyncio
import logging

from faceloom.builds.executors.cluster import Cluster
from faceloom.builds.executors.job import (
    PER_INDEX_RETRIES,
    KubernetesObject,
    job_manifest,
    job_name,
)
from faceloom.builds.executors.job_workers import JobWorkers
from faceloom.builds.executors.remote import RemoteExecutor
from faceloom.builds.executors.settings import ClusterSettings, cluster_settings
from faceloom.builds.plan import Plan
from faceloom.builds.retrying import Patience
from faceloom.builds.service.records import BuildOrder
from faceloom.clients.client import Faceloom

log = logging.getLogger(__name__)


class KubernetesExecutor(RemoteExecutor):
    """See `Executor`.

    Args:
        settings: What the operator decided.
        cluster: Where Jobs are made.
        faceloom: The model services.
        patience: As in `RemoteExecutor`.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        cluster: Cluster,
        faceloom: Faceloom,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(
            faceloom,
            patience,
            volume=settings.data_path,
            poll_seconds=settings.poll_seconds,
            stall_seconds=settings.stall_seconds,
        )
        self._settings = settings
        self._cluster = cluster

    async def started(self, order: BuildOrder) -> bool:
        """Whether there is a Job."""
        return await self._cluster.job(job_name(order)) is not None

    async def start(self, order: BuildOrder, plan: Plan) -> JobWorkers:
        """Makes the Job."""
        version = await self._cluster.version()
        manifest = job_manifest(self._settings, order, plan.shards, version)
        job = await self._created(manifest)
        notes = []
        counts_here = version < PER_INDEX_RETRIES
        if counts_here:
            notes.append(
                f"the API server is {version[0]}.{version[1]}: it does not count retries per shard,"
                " so the pipeline service does"
            )
        if ignored := sorted(manifest["spec"].keys() - job["spec"].keys()):
            notes.append(f"the API server does not know {', '.join(ignored)} of Jobs")
        attempts = self._settings.attempts if counts_here else None
        return JobWorkers(self._cluster, job, attempts, tuple(notes))

    async def withdraw(self, order: BuildOrder) -> None:
        """Deletes the Job."""
        await self._cluster.delete_job(job_name(order))

    async def announce(self, order: BuildOrder, error: str) -> None:
        """Puts it among the namespace's events."""
        await self._cluster.warn(job_name(order), "BuildFailed", error)

    async def _created(self, manifest: KubernetesObject) -> KubernetesObject:
        """The Job, new or of the service that was here before."""
        name = manifest["metadata"]["name"]
        while True:
            made = await self._cluster.create_job(manifest)
            job = made or await self._cluster.job(name)
            if job is not None:
                log.info("job", extra={"job": name, "new": made is not None})
                return job
            # An earlier one of its name is being deleted.
            await asyncio.sleep(self._settings.poll_seconds)


def in_cluster(faceloom: Faceloom) -> KubernetesExecutor:
    """The executor of this process's cluster, as the environment tells.

    Raises:
        UsageError: There is none, or something that has no default is missing.
    """
    settings = cluster_settings()
    return KubernetesExecutor(settings, Cluster(settings.namespace), faceloom)
