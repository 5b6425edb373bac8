"""Takes blocks of candidates through the services: generate, classify, the stages of the recipe, encode."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from faceloom.builds.calls import Calls
from faceloom.builds.candidate import Candidate
from faceloom.builds.pool import Pool
from faceloom.builds.raw_images import RGB, pixels_of
from faceloom.builds.retrying import Patience, PatientService
from faceloom.builds.splitting import SplittingServices
from faceloom.builds.stages import StageCall, services_of, stage_calls
from faceloom.builds.stopwatch import Stopwatch
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FailedPrecondition
from faceloom.datasets.candidates import BLOCK, Block
from faceloom.datasets.encodings import ENCODERS
from faceloom.datasets.outcomes import Accepted, Face, Failed, Outcome, Rejected
from faceloom.datasets.png import ENCODER, pixels_sha256
from faceloom.datasets.recipe import Platform, Recipe
from faceloom.datasets.stage import FACES

# When a service fails so many candidates together, it is no candidate's fault.
EPIDEMIC = 8


@dataclass
class CandidateBatch:
    """How candidates ended, in order, the faces among them that are kept, and how both were made.

    Args:
        outcomes: How each ended.
        faces: Those that are kept.
        platforms: What services computed on.
        encoders: Who encoded pictures.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    platforms: set[Platform] = field(default_factory=set)
    encoders: set[str] = field(default_factory=set)

    def add(self, other: "CandidateBatch") -> None:
        """Those, too."""
        self.outcomes += other.outcomes
        self.faces += other.faces
        self.platforms |= other.platforms
        self.encoders |= other.encoders


def patient_services(
    stages: Iterable[str], in_flight: int, patience: Patience, stopwatch: Stopwatch
) -> dict[str, PatientService]:
    """How each service of a build with those stages is called, by name."""
    return {
        name: PatientService(name, in_flight, patience, stopwatch) for name in services_of(stages)
    }


class BlockMaker:
    """The services, as one block after the other goes through them.

    Args:
        recipe: What the build is made by.
        items_per_message: How many pictures fit into one message.
        faceloom: The services.
        services: How each of them is called.
        stopwatch: Is told how long encoding takes.
        pool: What is there already.
        kept: The ordinals that are kept, where the recipe's filter is a choice.
    """

    def __init__(
        self,
        recipe: Recipe,
        items_per_message: int,
        faceloom: Faceloom,
        services: Mapping[str, PatientService],
        stopwatch: Stopwatch,
        pool: Pool | None = None,
        kept: Iterable[int] = (),
    ) -> None:
        self._pool = pool
        self._kept = frozenset(kept)
        self._stopwatch = stopwatch
        self._recipe = recipe
        self._services = SplittingServices(services, items_per_message)
        self._calls = Calls(recipe, faceloom)
        self._stages = stage_calls(stage.name for stage in recipe.stages)

    async def make_block(
        self, block: Block, judged: Callable[[CandidateBatch], None]
    ) -> CandidateBatch:
        """All candidates of a block; `judged` hears of every batch when it is done."""
        result = CandidateBatch()
        for start in range(0, len(block.ordinals), BLOCK):
            wanted = None if block.quota is None else block.quota - len(result.faces)
            batch = await self.make_batch(block.ordinals[start : start + BLOCK], wanted)
            self._check_epidemic(batch.outcomes)
            judged(batch)
            result.add(batch)
            if len(result.faces) == block.quota:
                return result
            if block.hopeless(len(result.outcomes), len(result.faces)):
                raise FailedPrecondition(
                    f"only {len(result.faces)} of {len(result.outcomes)} candidates were accepted:"
                    " the quality model does not suit the generator",
                    reason="TOO_FEW_ACCEPTED",
                )
        return result

    async def make_batch(
        self, ordinals: Sequence[int], wanted: int | None = None
    ) -> CandidateBatch:
        """Those candidates, up to the one that is the `wanted`-th to be accepted."""
        ended: dict[int, Outcome] = {}
        begun = [self._candidate(at) for at in ordinals]
        kept = []
        for candidate in await self._judged(begun, ended):
            assert candidate.score is not None
            if self._keeps(candidate.ordinal, candidate.score):
                kept.append(candidate)
            else:
                ended[candidate.ordinal] = Rejected(
                    candidate.ordinal, candidate.seed, candidate.id, candidate.score
                )
        faces: list[Face] = []
        room = len(kept) if wanted is None else wanted
        while kept and room > len(faces):
            now, kept = kept[: room - len(faces)], kept[room - len(faces) :]
            faces += await self._draw(now, ended)
        ended |= {face.outcome.ordinal: face.outcome for face in faces}
        outcomes = [ended[ordinal] for ordinal in ordinals if ordinal in ended]
        batch = CandidateBatch(until_full(outcomes, wanted), faces)
        batch.platforms = {one for candidate in begun for one in candidate.platforms}
        made = {face.outcome.ordinal for face in faces}
        files = [candidate.files for candidate in begun if candidate.ordinal in made]
        if any(len(one) < len(self._recipe.kinds) for one in files):
            batch.encoders.add(ENCODER)
        if self._pool is not None:
            made_with = self._pool.provenance(with_files=any(files))
            batch.platforms.update(made_with.platforms)
            batch.encoders.update(made_with.encoders)
        return batch

    def _candidate(self, ordinal: int) -> Candidate:
        seed = self._recipe.seed_of(ordinal)
        return Candidate(ordinal, seed, self._recipe.source.id_of(seed))

    async def _judged(self, begun: list[Candidate], ended: dict[int, Outcome]) -> list[Candidate]:
        """Those that have a score in the end, in order: from the pool, or from the services."""
        if self._pool is not None:
            self._pool.score(begun)
        new = [candidate for candidate in begun if candidate.score is None]
        await self._services.each(
            "quality", self._calls.classify, await self._made(new, ended), ended
        )
        return [candidate for candidate in begun if candidate.ordinal not in ended]

    async def _made(
        self, candidates: list[Candidate], ended: dict[int, Outcome]
    ) -> list[Candidate]:
        """Those of which there is a picture in the end, in order: from the pool, or from the generator."""
        missing = [candidate for candidate in candidates if candidate.image is None]
        if self._pool is not None:
            await asyncio.to_thread(self._pool.bring, missing)
            missing = [candidate for candidate in missing if candidate.image is None]
        await self._services.each("generator", self._calls.generate, missing, ended)
        return [candidate for candidate in candidates if candidate.ordinal not in ended]

    def _keeps(self, ordinal: int, score: float) -> bool:
        threshold = self._recipe.filter.threshold
        return ordinal in self._kept if threshold is None else score >= threshold

    async def _draw(self, kept: list[Candidate], ended: dict[int, Outcome]) -> list[Face]:
        """All stages, those that need nothing of each other at the same time; failures go to `ended`."""
        kept = await self._made(kept, ended)
        waiting, made = list(self._stages), set[str]()
        while waiting:
            ready = [call for call in waiting if made >= set(call.needs)]
            kept = await self._draw_at_once(ready, kept, ended)
            made |= {kind.folder for call in ready for kind in call.stage.outputs}
            waiting = [call for call in waiting if call not in ready]
        with self._stopwatch("encode"):
            return await asyncio.to_thread(lambda: [self._face(one) for one in kept])

    async def _draw_at_once(
        self, calls: Sequence[StageCall], kept: list[Candidate], ended: dict[int, Outcome]
    ) -> list[Candidate]:
        not_made: list[dict[int, Outcome]] = [{} for _ in calls]
        async with asyncio.TaskGroup() as group:
            for call, failed in zip(calls, not_made, strict=True):
                new = [candidate for candidate in kept if not candidate.has(call.stage)]
                part = partial(self._calls.stage, call)
                group.create_task(self._services.each(call.stage.service, part, new, failed))
        # Whichever came first: what fails in several stages always fails for the reason of the first one.
        for failed in reversed(not_made):
            ended |= failed
        return [candidate for candidate in kept if candidate.ordinal not in ended]

    def _face(self, candidate: Candidate) -> Face:
        files, hashes = {}, {}
        image, z, w, score = candidate.image, candidate.z, candidate.w, candidate.score
        assert image and z is not None and w is not None and score is not None
        made = candidate.made | {FACES.folder: pixels_of(image, RGB)}
        for kind in self._recipe.kinds:
            path, value = kind.path(candidate.ordinal), made[kind.folder]
            files[path] = candidate.files.get(kind.folder) or ENCODERS[kind.encoding](
                value, candidate.seed, candidate.id
            )
            if kind.is_picture:
                hashes[path] = pixels_sha256(value)
        paths = self._recipe.files_of(candidate.ordinal)
        outcome = Accepted(candidate.ordinal, candidate.seed, candidate.id, score, paths)
        return Face(outcome, files, hashes, z, w)

    def _check_epidemic(self, outcomes: Sequence[Outcome]) -> None:
        """Stops a build whose service fails everybody, instead of recording candidates by the thousand."""
        reached = list(outcomes)
        drawing = {call.stage.service for call in self._stages}
        for services in ({"generator"}, {"quality"}, drawing):
            failed = [one for one in reached if isinstance(one, Failed) and one.service in services]
            if len(failed) == len(reached) >= EPIDEMIC:
                raise FailedPrecondition(
                    f"the {failed[0].service} service failed all {len(failed)} candidates of a batch:"
                    f" {failed[0].reason} {failed[0].detail}".rstrip(),
                    reason="SERVICE_BROKEN",
                )
            reached = [one for one in reached if one not in failed]
            if "quality" in services:
                reached = [one for one in reached if not isinstance(one, Rejected)]


def until_full(outcomes: Sequence[Outcome], wanted: int | None) -> list[Outcome]:
    """The outcomes up to the one that fills the quota; those after it were never planned."""
    kept: list[Outcome] = []
    for outcome in outcomes:
        if wanted == 0:
            break
        kept.append(outcome)
        if wanted is not None and isinstance(outcome, Accepted):
            wanted -= 1
    return kept
