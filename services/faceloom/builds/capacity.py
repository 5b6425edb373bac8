"""What a build on many nodes will take, from rates that somebody measured."""

from dataclasses import dataclass

from faceloom.builds.stages import FACE_SERVICES, stage_calls
from faceloom.datasets.candidates import BLOCK, block_count, shard_count
from faceloom.datasets.spec import BuildSpec

# A worker's directory listings, and what a commit does besides writing pictures: make a folder, write latents
# and manifest, bring both to the disk, rename, bring the name to the disk. `commit` is what does it.
LISTINGS_PER_SHARD = 3
PROTOCOL_PER_SHARD = 7
# A record of what was spent: find the folder, write it, bring it to the disk, name it, remove the draft,
# bring the name to the disk; the service and the last run read it.
RECORD_PER_SHARD = 8
# On an object store a worker looks for the place, twice for the plan and for the shard, and puts tar,
# manifest and record; who puts the dataset together lists the shard, and reads all three.
OBJECTS_PER_WORKER = 7
OBJECTS_PER_FINAL_SHARD = 4
_HOUR = 3600.0
_MEASURED = "docs/performance.md: tiny models"


@dataclass(frozen=True)
class Rate:
    """A number, and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class Rates:
    """What was measured. The defaults are those of docs/performance.md: other models and nodes need others.

    Args:
        candidates_per_second: Of one node, through all services.
        accepted_share: Of candidates, 0 to 1.
        bytes_per_face: Of an accepted face in the dataset, pictures and latents.
        bytes_per_candidate: Of every candidate, in manifests and lists.
    """

    candidates_per_second: Rate = Rate(67.7, f"{_MEASURED}, 1,000 candidates on two cores, no GPU")
    accepted_share: Rate = Rate(0.059, f"{_MEASURED}, 59 of 1,000 candidates")
    bytes_per_face: Rate = Rate(21_085, f"{_MEASURED}, 10,500 faces of 64x64")
    bytes_per_candidate: Rate = Rate(220, f"{_MEASURED}, 178,177 candidates")


@dataclass(frozen=True)
class Fleet:
    """What it runs on.

    Args:
        nodes: Nodes that serve the models.
        gpus_per_node: GPUs of a node.
        parallelism: Workers at the same time.
        poll_seconds: How often the pipeline service looks at the Job.
        object_store: Whether the dataset goes to one; else it goes to a volume.
    """

    nodes: int
    gpus_per_node: int
    parallelism: int
    poll_seconds: float
    object_store: bool = False


@dataclass(frozen=True)
class Sizing:
    """What it takes.

    Args:
        candidates: Generated faces.
        accepted: Of those, kept.
        blocks: Units of work.
        shards: Units of commit, and the least number of pods.
        pods_at_once: Workers at the same time.
        hours: From the first shard to the last, when nothing dies.
        node_hours: Of all nodes.
        gpu_hours: Of all their GPUs.
        dataset_bytes: Of the dataset.
        dataset_files: Of accepted faces: pictures, and whatever else stages make.
        store_requests: To an object store, all; to a volume, all but the writing of pictures.
        api_requests: To the API server, of the pipeline service.
        service_calls: To the model services.
    """

    candidates: int
    accepted: int
    blocks: int
    shards: int
    pods_at_once: int
    hours: float
    node_hours: float
    gpu_hours: float
    dataset_bytes: int
    dataset_files: int
    store_requests: int
    api_requests: int
    service_calls: int


def size(spec: BuildSpec, shards: int | None, rates: Rates, fleet: Fleet) -> Sizing:
    """What that build takes on that fleet."""
    share = rates.accepted_share.value
    candidates = spec.candidates or round(spec.target / share)
    accepted = spec.accepted or round(candidates * share)
    count = shard_count(block_count(spec), shards)
    seconds = candidates / (rates.candidates_per_second.value * fleet.nodes)
    node_hours = seconds / _HOUR * fleet.nodes
    polls = round(seconds / fleet.poll_seconds)
    stages = stage_calls(spec.stages)
    calls_per_batch = len(FACE_SERVICES) + len(stages)
    stored = accepted * rates.bytes_per_face.value + candidates * rates.bytes_per_candidate.value
    return Sizing(
        candidates=candidates,
        accepted=accepted,
        blocks=block_count(spec),
        shards=count,
        pods_at_once=min(fleet.parallelism, count),
        hours=seconds / _HOUR,
        node_hours=node_hours,
        gpu_hours=node_hours * fleet.gpus_per_node,
        dataset_bytes=round(stored),
        dataset_files=accepted * (1 + sum(len(call.stage.outputs) for call in stages)),
        store_requests=count * _requests_per_shard(fleet) + 2 * polls,
        # Created and deleted; looked at, with its pods when nothing was committed since.
        api_requests=2 + 2 * polls,
        # A batch is generated and judged; what is kept of it goes through the stages. A worker learns from
        # each what answers it before it trusts it.
        service_calls=calls_per_batch * (-(-candidates // BLOCK) + count),
    )


def _requests_per_shard(fleet: Fleet) -> int:
    # The pipeline service reads every manifest and every record while the build runs.
    if fleet.object_store:
        return OBJECTS_PER_WORKER + 2 + OBJECTS_PER_FINAL_SHARD
    return LISTINGS_PER_SHARD + PROTOCOL_PER_SHARD + RECORD_PER_SHARD + 1 + 1
