"""What a dataset is: recipe, identity, files, and how they are read and checked. It never imports torch.

from faceloom import datasets

for face in datasets.open("out/faces").faces():
    print(face.id, face.quality, face.files["images"])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceloom.datasets.reader import DamagedDataset, Dataset, open

__all__ = ["DamagedDataset", "Dataset", "open"]


def __getattr__(name: str) -> Any:
    """Brings the reader when it is asked for: much of the house imports parts of this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from faceloom.datasets import reader

    return getattr(reader, name)
