"""What a caller asks of a build. Everything else that determines the bytes is found out by `recipe`."""

import math
from dataclasses import dataclass

from faceloom.core.errors import InvalidArgument

MAX_COUNT = 10_000_000
MAX_SEED = 2**32 - 1
MAX_PSI = 1.5


@dataclass(frozen=True)
class BuildSpec:
    """The size and the randomness of a dataset. Exactly one of `candidates` and `accepted` is set.

    Args:
        candidates: Generate exactly this many faces.
        accepted: Generate until exactly this many are accepted.
        seed: Which of 2^32 disjoint seed streams to use.
        truncation_psi: Truncation towards the mean face.

    Raises:
        InvalidArgument: Names the field that is out of its range.
    """

    candidates: int | None = None
    accepted: int | None = None
    seed: int = 0
    truncation_psi: float = 0.7

    def __post_init__(self) -> None:
        if (self.candidates is None) == (self.accepted is None):
            raise InvalidArgument("give either candidates or accepted", field="spec.size")
        for name, count in (("candidates", self.candidates), ("accepted", self.accepted)):
            if count is not None and not 1 <= count <= MAX_COUNT:
                raise InvalidArgument(f"{name} is 1 to {MAX_COUNT}", field=f"spec.{name}")
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidArgument(f"seed is 0 to {MAX_SEED}", field="spec.seed")
        if not (math.isfinite(self.truncation_psi) and 0 <= self.truncation_psi <= MAX_PSI):
            raise InvalidArgument(
                f"truncation_psi is 0 to {MAX_PSI:g}", field="spec.truncation_psi"
            )
        # The wire carries 32-bit floats: 0.7 arrives as 0.699999988, and is the same recipe.
        object.__setattr__(self, "truncation_psi", abs(round(float(self.truncation_psi), 6)))

    def __str__(self) -> str:
        what = "accepted faces" if self.candidates is None else "candidates"
        return f"{self.target} {what} with seed {self.seed} and psi {self.truncation_psi:g}"

    def continues(self, before: "BuildSpec") -> bool:
        """Whether a build that was asked for this earlier is the same one, or grows to this one."""
        counts = self.candidates is None, self.seed, self.truncation_psi
        begun = before.candidates is None, before.seed, before.truncation_psi
        return counts == begun and self.target >= before.target

    @property
    def target(self) -> int:
        """The number asked for, of candidates or of accepted faces."""
        return self.candidates or self.accepted or 0
