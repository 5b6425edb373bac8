"""What committed candidates were like, added up. It is read from manifests alone, so it is the same wherever
shards were made, and nothing is lost with a process that ends."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from faceloom.datasets.manifest import Manifest

# Upper ends of the bins that quality scores are counted in, as the cards of quality models count them.
SCORE_BOUNDS = tuple(tenth / 10 for tenth in range(1, 11))


@dataclass(frozen=True)
class Census:
    """Candidates of any number of shards.

    Args:
        accepted: Kept.
        rejected: Refused by the quality service.
        failures: Not made, by service and reason.
        scores: Judged by the quality service, by the bound of their bin.
        score_sum: Of all those scores.
        bytes: Of the shards' files.
    """

    accepted: int = 0
    rejected: int = 0
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    scores: Counter[float] = field(default_factory=Counter)
    score_sum: float = 0.0
    bytes: int = 0

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The candidates of one shard."""
        scores = [outcome.score for outcome in manifest.accepted]
        scores += [outcome.score for outcome in manifest.rejected]
        bins = (min(bisect_left(SCORE_BOUNDS, score), len(SCORE_BOUNDS) - 1) for score in scores)
        return cls(
            accepted=len(manifest.accepted),
            rejected=len(manifest.rejected),
            failures=Counter((failed.service, failed.reason) for failed in manifest.failed),
            scores=Counter(SCORE_BOUNDS[place] for place in bins),
            score_sum=sum(scores),
            bytes=sum(file.bytes for file in manifest.files.values()),
        )

    @property
    def failed(self) -> int:
        """Not made."""
        return self.failures.total()

    @property
    def planned(self) -> int:
        """All of them."""
        return self.accepted + self.rejected + self.failed

    def __add__(self, other: "Census") -> "Census":
        return Census(
            self.accepted + other.accepted,
            self.rejected + other.rejected,
            self.failures + other.failures,
            self.scores + other.scores,
            self.score_sum + other.score_sum,
            self.bytes + other.bytes,
        )

    def __sub__(self, part: "Census") -> "Census":
        """Without those, which are among them."""
        return Census(
            self.accepted - part.accepted,
            self.rejected - part.rejected,
            self.failures - part.failures,
            self.scores - part.scores,
            self.score_sum - part.score_sum,
            self.bytes - part.bytes,
        )
