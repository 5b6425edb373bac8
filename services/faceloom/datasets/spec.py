"""What a caller asks of a build. Everything else that determines the bytes is found out by `recipe`."""

import math
from dataclasses import dataclass

from faceloom.core.errors import InvalidArgument

MAX_COUNT = 10_000_000
MAX_SEED = 2**32 - 1
MAX_PSI = 1.5
_FILTERS = 3
STAGES = ("sketch", "segmentation")


@dataclass(frozen=True)
class BuildSpec:
    """The size and the randomness of a dataset. Exactly one of `candidates` and `accepted` is set.

    Args:
        candidates: Generate exactly this many faces.
        accepted: Generate until exactly this many are accepted.
        seed: Which of 2^32 disjoint seed streams to use.
        truncation_psi: Truncation towards the mean face.
        stages: What is made of accepted faces: names in `builds.stages`, in the order of columns.
        threshold: Accept scores from it on, 0 to 1; the quality model decides when not given.
        top: Accept so many of the candidates, those with the highest scores.
        kept: Accept what people chose: see `Filter.kept`.

    Raises:
        InvalidArgument: Names the field that is out of its range.
    """

    candidates: int | None = None
    accepted: int | None = None
    seed: int = 0
    truncation_psi: float = 0.7
    stages: tuple[str, ...] = STAGES
    threshold: float | None = None
    top: int | None = None
    kept: str | None = None

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
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InvalidArgument("threshold is 0 to 1", field="spec.threshold")
        if self.top is not None and not 0 <= self.top <= (self.candidates or 0):
            raise InvalidArgument("top is 0 to the number of candidates", field="spec.top")
        if [self.threshold, self.top, self.kept].count(None) < _FILTERS - 1:
            raise InvalidArgument("give either threshold or top", field="spec.top")
        # The wire carries 32-bit floats: 0.7 arrives as 0.699999988, and is the same recipe.
        object.__setattr__(self, "truncation_psi", abs(round(float(self.truncation_psi), 6)))
        # JSON has lists.
        object.__setattr__(self, "stages", tuple(self.stages))

    def __str__(self) -> str:
        what = "accepted faces" if self.candidates is None else "candidates"
        return f"{self.target} {what} with seed {self.seed} and psi {self.truncation_psi:g}"

    def continues(self, before: "BuildSpec") -> bool:
        """Whether a build that was asked for this earlier is the same one, or grows to this one."""
        if self.is_choice and self.target != before.target:
            return False
        return self._method == before._method and self.target >= before.target

    @property
    def target(self) -> int:
        """The number asked for, of candidates or of accepted faces."""
        return self.candidates or self.accepted or 0

    @property
    def _method(self) -> tuple[object, ...]:
        decision = (self.threshold, self.top, self.kept)
        return self.candidates is None, self.seed, self.truncation_psi, self.stages, decision

    @property
    def is_choice(self) -> bool:
        """Whether which candidates are accepted follows from all of them together, not from each alone."""
        return bool(self.top) or self.kept is not None
