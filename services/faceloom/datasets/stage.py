"""What a stage of a build adds to every accepted face. Recipes record it, so that a dataset itself says which
files it has, also to a version of Faceloom that does not know the stage."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

_PICTURES: Final = ("rgb", "grey", "labels")


@dataclass(frozen=True)
class Kind:
    """A kind of file: every accepted face has one.

    Args:
        folder: Where they lie, and what readers call the kind: `sketches`.
        column: How their columns in metadata.jsonl begin: `sketch` for `sketch_file_name` and
            `sketch_sha256`. Empty for the face itself.
        suffix: How the names of the files end.
        encoding: How values become bytes, a name in `datasets.encodings`.
    """

    folder: str
    column: str
    suffix: str
    encoding: str

    def path(self, ordinal: int) -> str:
        """Where the file of a candidate lies, below the dataset."""
        return f"{self.folder}/{ordinal:07d}{self.suffix}"

    def is_name(self, name: str) -> bool:
        """Whether a file in the folder is called as builds call theirs."""
        return name.endswith(self.suffix) and name.removesuffix(self.suffix).isdecimal()

    def column_of(self, what: str) -> str:
        """The name of a column: `file_name`, `sha256` or `pixels_sha256` of this kind."""
        return f"{self.column}_{what}" if self.column else what

    @property
    def is_picture(self) -> bool:
        """Whether files have pixels, and so a digest of them."""
        return self.encoding in _PICTURES


FACES: Final = Kind("images", "", ".png", "rgb")


@dataclass(frozen=True)
class Stage:
    """One step after the filter.

    Args:
        name: What `--stages` calls it.
        service: Which service does it.
        outputs: What comes of it.
    """

    name: str
    service: str
    outputs: tuple[Kind, ...]

    def to_json(self) -> dict[str, Any]:
        """The stage as recipes write it."""
        outputs = [asdict(kind) for kind in self.outputs]
        return {"name": self.name, "service": self.service, "outputs": outputs}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote; what this version does not know is left out.

        Raises:
            KeyError: Something is missing.
            ValueError: A folder or a suffix could lead out of the dataset.
        """
        return cls(data["name"], data["service"], tuple(map(_kind, data["outputs"])))


def _kind(data: Mapping[str, str]) -> Kind:
    folder, column, suffix = data["folder"], data["column"], data["suffix"]
    if not folder.isidentifier() or not column.isidentifier() or "/" in suffix:
        raise ValueError(f"a stage writes {folder!r:.60} with names that end in {suffix!r:.60}")
    return Kind(folder, column, suffix, data["encoding"])


SKETCH: Final = Stage("sketch", "sketch", (Kind("sketches", "sketch", ".png", "grey"),))
SEGMENTATION: Final = Stage(
    "segmentation", "segmentation", (Kind("layouts", "layout", ".png", "labels"),)
)
