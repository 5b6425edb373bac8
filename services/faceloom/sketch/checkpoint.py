"""The published formats of networks that draw which can be imported."""

from collections.abc import Callable, Mapping
from pathlib import Path

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.sketch.keras import read_keras, read_keras_port
from faceloom.sketch.simplification import read_pth, read_t7

FORMATS: Mapping[str, Callable[[Path, Answers], Imported]] = {
    "torch7": read_t7,
    "pth": read_pth,
    "sketchkeras": read_keras,
    "sketchkeras-pytorch": read_keras_port,
}
