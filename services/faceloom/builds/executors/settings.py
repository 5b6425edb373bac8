"""How builds are run in a cluster, from the environment: `FACELOOM_WORKER_IMAGE` and so on."""

from pathlib import Path

from pydantic import PositiveFloat, PositiveInt

from faceloom.core.errors import UsageError
from faceloom.core.settings import Settings

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ClusterSettings(Settings):
    """What an operator decides about workers.

    Args:
        worker_image: The image that workers run.
        namespace: Where Jobs are made; the pod's own namespace when empty.
        queue: A Kueue queue that Jobs wait in; none when empty.
        data_claim: The PersistentVolumeClaim that holds datasets.
        data_path: Where that is mounted, in the pipeline's pod and in workers.
        store_secret: The Secret whose entries tell workers of the object store, AWS_ACCESS_KEY_ID and so on;
            none when empty.
        worker_scratch: Room for the shard that a worker makes for an object store, three times over.
        worker_priority: The PriorityClass of workers; the cluster's default when empty.
        worker_memory: What a worker is given; with pictures of 1024 pixels a block in flight takes 200 MB.
        parallelism: Workers at the same time, at most.
        attempts: How often a shard is tried.
        deadline_seconds: How long a Job may take.
        stall_seconds: How long no worker may be running before the build fails with the reason.
        poll_seconds: How often a Job is looked at.
    """

    worker_image: str = ""
    namespace: str = ""
    queue: str = ""
    data_claim: str = "faceloom-data"
    data_path: Path = Path("/data")
    store_secret: str = ""
    worker_scratch: str = "4Gi"
    worker_priority: str = ""
    worker_memory: str = "1Gi"
    parallelism: PositiveInt = 32
    attempts: PositiveInt = 4
    deadline_seconds: PositiveInt = 7 * 86_400
    stall_seconds: PositiveFloat = 600.0
    poll_seconds: PositiveFloat = 5.0


def cluster_settings() -> ClusterSettings:
    """The settings of this process, with its namespace filled in.

    Raises:
        UsageError: Something that has no default is missing, or is not what it must be.
    """
    settings = ClusterSettings()
    if not settings.worker_image:
        raise UsageError("set FACELOOM_WORKER_IMAGE to the image that workers run")
    if settings.namespace:
        return settings
    try:
        namespace = _OWN_NAMESPACE.read_text().strip()
    except OSError:
        raise UsageError("set FACELOOM_NAMESPACE: this process is in no pod") from None
    return settings.model_copy(update={"namespace": namespace})
