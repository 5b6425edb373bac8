"""How what a stage makes of a face becomes the bytes of a file: one function for every encoding.

An encoding is deterministic: equal values give equal bytes, wherever it runs.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from faceloom.datasets.png import encode_png

# Takes the value, the candidate's global seed and the face's id; pictures bear both as marks.
FileEncoder = Callable[[Any, int, str], bytes]


def encode_json(value: Mapping[str, Any], seed: int, identity: str) -> bytes:
    """A JSON object on one line, its keys sorted, with the id of its face."""
    text = json.dumps({"face": identity, **value}, sort_keys=True, allow_nan=False)
    return f"{text}\n".encode()


ENCODERS: Final[Mapping[str, FileEncoder]] = MappingProxyType(
    {
        "rgb": encode_png,
        "grey": encode_png,
        "labels": partial(encode_png, labels=True),
        "json": encode_json,
    }
)
