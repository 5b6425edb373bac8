"""Opens the place of a build, whatever kind it is of."""

from pathlib import Path

from faceloom.builds.storage.bucket import BuildBucket
from faceloom.builds.storage.build import BuildStorage
from faceloom.builds.storage.folder import BuildFolder
from faceloom.datasets.place import Output


def open_build(output: Output) -> BuildStorage:
    """The build in a folder or on an object store."""
    return BuildFolder(output) if isinstance(output, Path) else BuildBucket(output)
