"""The published formats of encoders into a StyleGAN2 that can be imported."""

from collections.abc import Callable, Mapping
from pathlib import Path

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.translator.psp import read_psp

FORMATS: Mapping[str, Callable[[Path, Answers], Imported]] = {"psp": read_psp}
