"""Opens the place of a build, whatever kind it is of."""

from pathlib import Path

from faceloom.pipeline.folder import BuildFolder
from faceloom.pipeline.storage.bucket import BuildBucket
from faceloom.pipeline.storage.build import BuildStorage
from faceloom.pipeline.storage.output import Output


def open_build(output: Output) -> BuildStorage:
    """The build in a folder or on an object store."""
    return BuildFolder(output) if isinstance(output, Path) else BuildBucket(output)
