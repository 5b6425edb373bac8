"""The published formats of StyleGAN2 generators that can be imported."""

from collections.abc import Callable, Mapping
from pathlib import Path

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.generator.nvlabs import read_nvlabs
from faceloom.generator.rosinality import read_rosinality
from faceloom.generator.tensorflow import read_tensorflow

FORMATS: Mapping[str, Callable[[Path, Answers], Imported]] = {
    "rosinality": read_rosinality,
    "nvlabs": read_nvlabs,
    "tensorflow": read_tensorflow,
}
