"""A translator is served beside a generator whose latents its decoder understands."""

from collections.abc import Mapping, Sequence
from typing import Any

from faceloom.core.errors import UsageError
from faceloom.store.model import Model


def check_decoder(model: Model, served: Mapping[str, Sequence[Model]]) -> None:
    """Makes sure that a translator's decoder has the size of the default generator, and of its latents.

    Raises:
        UsageError: It has not.
    """
    decoder: Mapping[str, Any] = model.network.get("decoder", {})
    for generator in served.get("generator", ())[:1]:
        for argument in ("size", "style_dim"):
            theirs, ours = decoder.get(argument), generator.network.get(argument)
            if theirs != ours:
                raise UsageError(
                    f"{model.folder} does not fit the generator {generator.folder}: its decoder has"
                    f" {argument} {theirs}, the generator {ours}"
                )
