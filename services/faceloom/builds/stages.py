"""Takes candidates through the services: generate, classify, sketch and segment, encode.

A request that is refused is split until the candidate that spoils it is alone; that one becomes `Failed`, and
its neighbours go on as if it had never been there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from faceloom.builds.retrying import Patience, PatientService, Refused
from faceloom.builds.stage_calls import Candidate, Requests, pixels_of
from faceloom.builds.stopwatch import Stopwatch
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FailedPrecondition, InvalidArgument, TooLarge
from faceloom.datasets.candidates import BLOCK, Block
from faceloom.datasets.outcomes import Accepted, Face, Failed, Outcome, Rejected
from faceloom.datasets.png import Pixels, encode_png, pixels_sha256
from faceloom.datasets.recipe import Platform, Recipe
from faceloom.runtime.service import service

log = logging.getLogger(__name__)

SERVICES = ("generator", "quality", "sketch", "segmentation")
# When a service fails so many candidates together, it is no candidate's fault.
EPIDEMIC = 8


@dataclass
class Batch:
    """How candidates ended, in order, the faces among them that are kept, and what they were computed on."""

    outcomes: list[Outcome]
    faces: list[Face]
    platforms: set[Platform]


def patient_services(
    in_flight: int, patience: Patience, stopwatch: Stopwatch
) -> dict[str, PatientService]:
    """How each service is called, by name."""
    return {name: PatientService(name, in_flight, patience, stopwatch) for name in SERVICES}


class Stages:
    """The services, as one block after the other goes through them.

    Args:
        recipe: What the build is made by.
        items_per_message: How many pictures fit into one message.
        faceloom: The services.
        services: How each of them is called.
        stopwatch: Is told how long encoding takes.
    """

    def __init__(
        self,
        recipe: Recipe,
        items_per_message: int,
        faceloom: Faceloom,
        services: Mapping[str, PatientService],
        stopwatch: Stopwatch,
    ) -> None:
        self._stopwatch = stopwatch
        self._recipe = recipe
        self._services = services
        requests = Requests(recipe, faceloom)
        self._parts: dict[str, Callable[[Sequence[Candidate]], Awaitable[None]]] = {
            "generator": requests.generate,
            "quality": requests.classify,
            "sketch": requests.sketch,
            "segmentation": requests.segment,
        }
        self._items = {name: min(service(name).max_items, items_per_message) for name in SERVICES}

    async def make_block(self, block: Block, judged: Callable[[Batch], None]) -> Batch:
        """All candidates of a block; `judged` hears of every batch when it is done."""
        result = Batch([], [], set())
        for start in range(0, len(block.ordinals), BLOCK):
            wanted = None if block.quota is None else block.quota - len(result.faces)
            batch = await self.make_batch(block.ordinals[start : start + BLOCK], wanted)
            _check_epidemic(batch.outcomes)
            judged(batch)
            result.outcomes += batch.outcomes
            result.faces += batch.faces
            result.platforms |= batch.platforms
            if len(result.faces) == block.quota:
                return result
            if block.hopeless(len(result.outcomes), len(result.faces)):
                raise FailedPrecondition(
                    f"only {len(result.faces)} of {len(result.outcomes)} candidates were accepted:"
                    " the quality model does not suit the generator",
                    reason="TOO_FEW_ACCEPTED",
                )
        return result

    async def make_batch(self, ordinals: Sequence[int], wanted: int | None = None) -> Batch:
        """Those candidates, up to the one that is the `wanted`-th to be accepted."""
        ended: dict[int, Outcome] = {}
        begun = [self._candidate(at) for at in ordinals]
        made = await self._each("generator", begun, ended)
        kept = []
        for candidate in await self._each("quality", made, ended):
            if candidate.accepted:
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
        platforms = {one for candidate in begun for one in candidate.platforms}
        return Batch(until_full(outcomes, wanted), faces, platforms)

    def _candidate(self, ordinal: int) -> Candidate:
        seed = self._recipe.seed_of(ordinal)
        return Candidate(ordinal, seed, self._recipe.source.id_of(seed))

    async def _draw(self, kept: list[Candidate], ended: dict[int, Outcome]) -> list[Face]:
        """Sketches and layouts at the same time, then files; failures go to `ended`."""
        not_drawn: dict[int, Outcome] = {}
        not_labelled: dict[int, Outcome] = {}
        async with asyncio.TaskGroup() as group:
            sketches = group.create_task(self._each("sketch", kept, not_drawn))
            layouts = group.create_task(self._each("segmentation", kept, not_labelled))
        # In this order whichever came first: what fails in both fails for the same reason every time.
        ended |= not_labelled | not_drawn
        drawn = {candidate.ordinal for candidate in sketches.result()}
        complete = [candidate for candidate in layouts.result() if candidate.ordinal in drawn]
        with self._stopwatch("encode"):
            return await asyncio.to_thread(lambda: [self._face(one) for one in complete])

    def _face(self, candidate: Candidate) -> Face:
        outcome = Accepted(candidate.ordinal, candidate.seed, candidate.id, candidate.score)
        image, sketch, layout = candidate.image, candidate.sketch, candidate.layout
        z, w = candidate.z, candidate.w
        assert image and sketch is not None and layout is not None and z is not None
        assert w is not None

        names = outcome.files
        pictures: dict[str, Pixels] = {
            names["images"]: pixels_of(image, image.format),
            names["sketches"]: sketch,
            names["layouts"]: layout,
        }
        files = {
            path: encode_png(pixels, candidate.seed, candidate.id, labels=path == names["layouts"])
            for path, pixels in pictures.items()
        }
        hashes = {path: pixels_sha256(pixels) for path, pixels in pictures.items()}
        return Face(outcome, files, hashes, z, w)

    async def _each(
        self, name: str, candidates: Sequence[Candidate], ended: dict[int, Outcome]
    ) -> list[Candidate]:
        """Lets a service do its part; answers with the candidates for which it did."""
        done: list[Candidate] = []
        for start in range(0, len(candidates), self._items[name]):
            some = candidates[start : start + self._items[name]]
            done += await self._split(name, some, ended, attempts=1)
        return done

    async def _split(
        self,
        name: str,
        candidates: Sequence[Candidate],
        ended: dict[int, Outcome],
        attempts: int,
    ) -> list[Candidate]:
        try:
            await self._services[name].call(
                lambda: self._parts[name](candidates), divisible=len(candidates) > 1
            )
            return list(candidates)
        except Refused as refused:
            error = refused.error
        log.warning(
            "a service refused candidates",
            extra={"service": name, "candidates": len(candidates), "cause": str(error)},
        )
        if len(candidates) == 1:
            (guilty,) = candidates
            # Other messages differ from time to time, and the dataset must not.
            detail = error.message if isinstance(error, InvalidArgument | TooLarge) else ""
            failed = Failed(
                guilty.ordinal, guilty.seed, guilty.id, name, error.reason, detail, attempts
            )
            ended[guilty.ordinal] = failed
            return []
        middle = len(candidates) // 2
        first = await self._split(name, candidates[:middle], ended, attempts + 1)
        return first + await self._split(name, candidates[middle:], ended, attempts + 1)


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


def _check_epidemic(outcomes: Sequence[Outcome]) -> None:
    """Stops a build whose service fails everybody, instead of recording candidates by the thousand."""
    reached = list(outcomes)
    for stage in (("generator",), ("quality",), ("sketch", "segmentation")):
        failed = [one for one in reached if isinstance(one, Failed) and one.service in stage]
        if len(failed) == len(reached) >= EPIDEMIC:
            raise FailedPrecondition(
                f"the {failed[0].service} service failed all {len(failed)} candidates of a batch:"
                f" {failed[0].reason} {failed[0].detail}".rstrip(),
                reason="SERVICE_BROKEN",
            )
        reached = [one for one in reached if one not in failed]
        if "quality" in stage:
            reached = [one for one in reached if not isinstance(one, Rejected)]
