"""What a network itself answers, before anything is rounded or encoded: to hold it against upstream's."""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from google.protobuf.message import Message

from faceloom.core.arrays import Floats
from faceloom.core.errors import UsageError
from faceloom.runtime.service import service


def raw_outputs(name: str, folder: Path, requests: Iterable[Message]) -> Floats:
    """Computes here, on the CPU, in chunks of the size that the service computes.

    Args:
        name: Short name of the service.
        folder: Of the model.
        requests: As they are sent to the service; at least one.

    Returns:
        float32 [N, ...]: one row per seed, latent or picture, as `outputs` of the service's handler says.

    Raises:
        UsageError: The outputs are not all of one size.
        BrokenModel: There is no whole model in the folder.
        ServiceError: A request is refused.
    """
    handler = service(name).new_handler()
    handler.load(folder, "cpu")
    works = [handler.decode(request) for request in requests]
    keyed = [(work.key, sample) for work in works for sample in work.samples]
    size = handler.compute_batch
    rows: list[Floats] = []
    for key, group in groupby(keyed, itemgetter(0)):
        samples = [sample for _, sample in group]
        for start in range(0, len(samples), size):
            chunk = samples[start : start + size]
            padding = [chunk[-1]] * (size - len(chunk))
            rows += handler.outputs(key, chunk + padding)[: len(chunk)]
    sizes = sorted({row.shape for row in rows})
    if len(sizes) > 1:
        raise UsageError(
            f"outputs of {len(sizes)} sizes do not fit into one array, {list(sizes[0])} and"
            f" {list(sizes[1])} for example: give pictures of one size"
        )
    return np.stack(rows)
