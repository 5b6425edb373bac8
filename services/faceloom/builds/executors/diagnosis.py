"""What the objects of a cluster say about a build's Job, in a line for a person.

Everything here takes objects as the API server sends them, JSON, and asks nobody.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from faceloom.builds.executors.job import CONTAINER, KubernetesObject
from faceloom.builds.executors.workers import PendingReason
from faceloom.builds.worker import DETERMINISTIC, MISCONFIGURED, STOPPED

_INDEX = "batch.kubernetes.io/job-completion-index"
_BAD_USAGE = 2
# These do not pass by waiting.
_HOPELESS = {"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError"}
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
_LONGEST = 200
_PREFIX = re.compile(r"^faceloom: ")


def condition(job: KubernetesObject, kind: str) -> KubernetesObject | None:
    """That condition of a Job, if it is true."""
    conditions: Sequence[KubernetesObject] = job.get("status", {}).get("conditions") or ()
    return next((one for one in conditions if (one["type"], one["status"]) == (kind, "True")), None)


def index_of(pod: KubernetesObject) -> int:
    """The shard that a pod is to make."""
    return int(pod["metadata"].get("annotations", {}).get(_INDEX, -1))


def given_up(failed: Iterable[KubernetesObject], attempts: int) -> str:
    """Why a Job must not go on; empty while it may. The Job controller's own policy, where it has none.

    Args:
        failed: Its failed pods.
        attempts: How often an index is tried.
    """
    tries: Counter[int] = Counter()
    for pod in sorted(failed, key=_created):
        code = _exit_code(pod)
        if code == STOPPED or _disrupted(pod):
            continue
        tries[index_of(pod)] += 1
        if code in (_BAD_USAGE, MISCONFIGURED, DETERMINISTIC):
            return _failure(pod, tries[index_of(pod)])
        if tries[index_of(pod)] >= attempts:
            return _failure(pod, attempts)
    return ""


def why_failed(job: KubernetesObject, failed: Sequence[KubernetesObject]) -> str:
    """Why a Job failed: the last of its pods that failed by itself knows best."""
    ended = condition(job, "Failed") or {}
    if ended.get("reason") == "DeadlineExceeded":
        seconds = job["spec"].get("activeDeadlineSeconds")
        return f"the Job took longer than its deadline of {seconds} s"
    culprits = [pod for pod in failed if _exit_code(pod) != STOPPED and not _disrupted(pod)]
    if not culprits:
        return f"the Job failed: {ended.get('reason', '')} {ended.get('message', '')}".rstrip()
    tries = Counter(map(index_of, culprits))
    worst = max(culprits, key=lambda pod: (tries[index_of(pod)], _created(pod)))
    return _failure(worst, tries[index_of(worst)])


def why_waiting(
    job: KubernetesObject, active: Sequence[KubernetesObject], events: Iterable[KubernetesObject]
) -> PendingReason | None:
    """Why no worker runs; nothing when one does.

    Args:
        job: The Job.
        active: Its pods that have not ended.
        events: What happened to the Job, the latest last.
    """
    if job["spec"].get("suspend"):
        return PendingReason("the Job is suspended: it waits in its queue", queued=True)
    if any(pod["status"].get("phase") == "Running" for pod in active):
        return None
    reasons = [reason for pod in active for reason in _why_pending(pod)]
    if reasons:
        return max(reasons, key=lambda reason: reason.hopeless)
    refused = [one for one in events if one.get("reason") == "FailedCreate"]
    if refused:
        return PendingReason(f"workers are refused: {_line(refused[-1].get('message'))}")
    return PendingReason("no worker was started")


def _why_pending(pod: KubernetesObject) -> Iterator[PendingReason]:
    for state in _states(pod, "waiting"):
        reason = state.get("reason", "")
        what = "workers cannot be started" if reason in _HOPELESS else "workers are being started"
        if reason in _IMAGE:
            what = f"the image {pod['spec']['containers'][0]['image']} cannot be pulled"
        text = f"{what}: {reason} {_line(state.get('message'))}".rstrip()
        yield PendingReason(text, hopeless=reason in _HOPELESS)
    for one in pod["status"].get("conditions") or ():
        if (one["type"], one["status"]) == ("PodScheduled", "False"):
            yield PendingReason(
                f"workers find no node: {_line(one.get('message')) or one.get('reason')}"
            )


def _failure(pod: KubernetesObject, tries: int) -> str:
    times = "once" if tries == 1 else f"{tries} times"
    words = [*_states(pod, "terminated"), pod["status"]]
    told = [_line(one.get(key)) for key in ("message", "reason") for one in words]
    said = next(filter(None, told), "it said nothing")
    code = _exit_code(pod)
    ended = "ended" if code is None else f"ended with exit code {code}"
    return f"shard {index_of(pod)} failed {times}; its worker {ended}: {_PREFIX.sub('', said)}"


def _exit_code(pod: KubernetesObject) -> int | None:
    return next((state.get("exitCode") for state in _states(pod, "terminated")), None)


def _disrupted(pod: KubernetesObject) -> bool:
    """Whether the pod ended because its node or its place was taken away."""
    conditions = pod["status"].get("conditions") or ()
    preempted = any(one["type"] == "DisruptionTarget" for one in conditions)
    return preempted or pod["status"].get("reason") in ("Evicted", "NodeLost", "Shutdown")


def _states(pod: KubernetesObject, kind: str) -> list[KubernetesObject]:
    statuses = pod["status"].get("containerStatuses") or ()
    return [
        one["state"][kind]
        for one in statuses
        if one["name"] == CONTAINER and kind in one.get("state", {})
    ]


def _line(text: str | None) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:_LONGEST] if lines else ""


def _created(pod: KubernetesObject) -> str:
    return str(pod["metadata"].get("creationTimestamp", ""))
