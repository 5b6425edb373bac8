"""What makes a face: the same face has the same id in every dataset.

Generator, latent space, truncation, noise and seed give a face's id, and the id its split. What people said
of a face is kept under its id. How large a dataset is, what filtered it, what else was drawn of a face, which
encoder wrote its files and on which processor are no part of it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

# Out of a hundred ids, how many go to which split. An id never changes its split.
_SPLITS: Final = (("train", 90), ("validation", 95), ("test", 100))
_DIGITS: Final = 16


@dataclass(frozen=True)
class FaceSource:
    """All that makes a face but its seed.

    Args:
        generator: sha256 of the generator's weights.
        truncation_psi: Truncation towards the mean face.
        truncation_cutoff: The layers that truncation reaches; all when not given.
        latent_space: Where seeds draw latents.
        noise_mode: Where the noise of the synthesis network comes from, as the generator's API names it.
        namespace: Of the ids in a dataset that was begun with schema 1: its recipe's digest.
    """

    generator: str
    truncation_psi: float
    truncation_cutoff: int | None = None
    latent_space: str = "z"
    noise_mode: str = "const"
    namespace: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As recipes write it."""
        data: dict[str, Any] = {
            "generator": self.generator,
            "latent_space": self.latent_space,
            "truncation_psi": self.truncation_psi,
            "truncation_cutoff": self.truncation_cutoff,
            "noise_mode": self.noise_mode,
        }
        return data | ({"namespace": self.namespace} if self.namespace else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote.

        Raises:
            KeyError: Something is missing.
        """
        return cls(
            generator=data["generator"],
            truncation_psi=data["truncation_psi"],
            truncation_cutoff=data["truncation_cutoff"],
            latent_space=data["latent_space"],
            noise_mode=data["noise_mode"],
            namespace=data.get("namespace"),
        )

    @property
    def digest(self) -> str:
        """What ids are made with, and what labels are kept under, in lower-case hex."""
        return self.namespace or hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    def id_of(self, seed: int) -> str:
        """The id of a face, in lower-case hex."""
        return hashlib.sha256(f"{self.digest}{seed}".encode()).hexdigest()[:_DIGITS]


def split_of(identity: str) -> str:
    """train, validation or test, by the id alone."""
    place = int(hashlib.sha256(identity.encode()).hexdigest(), 16) % 100
    return next(name for name, end in _SPLITS if place < end)


def canonical_json(data: Any) -> bytes:
    """One text for equal data: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()
