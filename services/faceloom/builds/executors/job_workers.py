"""The workers of a Job: whether they are done, why none works, and when there is no use in going on."""

from faceloom.builds.executors.cluster import Cluster
from faceloom.builds.executors.diagnosis import condition, given_up, why_failed, why_waiting
from faceloom.builds.executors.job import KubernetesObject
from faceloom.builds.executors.workers import PendingReason, Workers
from faceloom.core.errors import FailedPrecondition

_ACTIVE, _FAILED = "status.phase!=Succeeded,status.phase!=Failed", "status.phase=Failed"


class JobWorkers(Workers):
    """See `Workers`.

    Args:
        cluster: Where the Job is.
        job: The Job as it was made.
        attempts: How often a shard is tried, where the API server does not count that; nothing where it does.
        notes: What a person should know.
    """

    def __init__(
        self, cluster: Cluster, job: KubernetesObject, attempts: int | None, notes: tuple[str, ...]
    ) -> None:
        self.notes = notes
        self._cluster = cluster
        self._job = job
        self._attempts = attempts
        self._failures = 0

    async def done(self) -> bool:
        """Whether the Job is complete."""
        job = self._job = await self._read()
        if condition(job, "Complete"):
            return True
        if condition(job, "Failed"):
            failed = await self._cluster.pods(job, _FAILED)
            raise FailedPrecondition(why_failed(job, failed), reason="JOB_FAILED")
        if self._attempts is not None:
            await self._check_tries(job, self._attempts)
        return False

    async def why_waiting(self) -> PendingReason | None:
        """What the Job, its pods and its events say."""
        active = await self._cluster.pods(self._job, _ACTIVE)
        events = [] if active else await self._cluster.events(self._job)
        return why_waiting(self._job, active, events)

    async def _read(self) -> KubernetesObject:
        name = self._job["metadata"]["name"]
        job = await self._cluster.job(name)
        if job is None:
            raise FailedPrecondition(
                f"somebody deleted the Job {name}; the same request takes the build up again",
                reason="JOB_DELETED",
            )
        return job

    async def _check_tries(self, job: KubernetesObject, attempts: int) -> None:
        failures = job.get("status", {}).get("failed", 0)
        if failures == self._failures:
            return
        self._failures = failures
        failed = await self._cluster.pods(job, _FAILED)
        if reason := given_up(failed, attempts):
            raise FailedPrecondition(reason, reason="JOB_FAILED")
