"""Fills one shard: from its blocks, or again from a committed one whose failed candidates get another try."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from faceloom.builds.block_maker import BlockMaker, CandidateBatch, until_full
from faceloom.builds.plan import Plan
from faceloom.builds.shards.commit import Draft, Shard
from faceloom.builds.storage.build import Shards
from faceloom.datasets.candidates import block_of
from faceloom.datasets.layout import LATENTS
from faceloom.datasets.outcomes import Accepted, Failed, Outcome

_FaceLatents = tuple[NDArray[np.float32], NDArray[np.float32]]


class OpenShard:
    """A shard some of whose blocks are still being made."""

    def __init__(self, store: Shards, index: int, blocks: range) -> None:
        self._store = store
        self._missing = set(blocks)
        self._draft = store.draft(index)
        self._outcomes: list[Outcome] = []
        self._latents: dict[int, _FaceLatents] = {}

    def write(self, made: CandidateBatch) -> None:
        """Writes a block's files. Blocks may be written at the same time."""
        for face in made.faces:
            for path, data in face.files.items():
                self._draft.write(path, data, face.pixels.get(path))

    def complete(self, index: int, made: CandidateBatch) -> bool:
        """Takes note of a block that is written; answers whether it was the last one."""
        self._latents |= {face.outcome.ordinal: (face.z, face.w) for face in made.faces}
        self._outcomes += made.outcomes
        _sign(self._draft, made)
        self._missing.remove(index)
        return not self._missing

    def commit(self) -> Shard:
        """Makes the shard count."""
        self._draft.write(LATENTS, _pack(self._latents))
        return self._store.commit(self._draft, self._outcomes)


async def retry_failed(
    plan: Plan, maker: BlockMaker, shard: Shard
) -> tuple[list[Outcome], CandidateBatch]:
    """Makes the failed candidates of a shard again.

    Returns:
        The outcomes the shard would have had if they had not failed the first time, and what was made.
    """
    again: dict[int, list[Failed]] = {}
    for failed in shard.manifest.failed:
        again.setdefault(block_of(plan.rounds, failed.ordinal), []).append(failed)
    made = CandidateBatch()
    for failures in again.values():
        batch = await maker.make_batch([failed.ordinal for failed in failures])
        batch.outcomes = _with_attempts(batch.outcomes, failures)
        made.add(batch)
    kept: list[Outcome] = [*shard.manifest.accepted, *shard.manifest.rejected, *made.outcomes]
    kept.sort(key=lambda outcome: outcome.ordinal)
    outcomes: list[Outcome] = []
    for index in shard.manifest.blocks:
        own = [outcome for outcome in kept if block_of(plan.rounds, outcome.ordinal) == index]
        outcomes += until_full(own, plan.block(index).quota)
    return outcomes, made


def commit_again(
    store: Shards, shard: Shard, outcomes: Sequence[Outcome], made: CandidateBatch
) -> Shard:
    """Commits the next generation of a shard: old files as they are, new ones beside them."""
    shard = store.whole(shard)
    old = load_file(shard.folder / LATENTS)
    latents = {
        outcome.ordinal: (z, w)
        for outcome, z, w in zip(shard.manifest.accepted, old["z"], old["w"], strict=True)
    }
    faces = {face.outcome.ordinal: face for face in made.faces}
    latents |= {ordinal: (face.z, face.w) for ordinal, face in faces.items()}
    kept = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    draft = store.draft(shard.manifest.index)
    draft.sign(shard.manifest.encoders, shard.manifest.platforms)
    _sign(draft, made)
    for outcome in kept:
        for path in outcome.files.values():
            if outcome.ordinal in faces:
                face = faces[outcome.ordinal]
                draft.write(path, face.files[path], face.pixels.get(path))
            else:
                draft.take_over(path, shard)
    draft.write(LATENTS, _pack({outcome.ordinal: latents[outcome.ordinal] for outcome in kept}))
    return store.commit(draft, outcomes)


def _sign(draft: Draft, made: CandidateBatch) -> None:
    draft.sign(made.encoders, made.platforms)


def _with_attempts(outcomes: Sequence[Outcome], before: Sequence[Failed]) -> list[Outcome]:
    attempts = {failed.ordinal: failed.attempts for failed in before}
    return [
        replace(outcome, attempts=outcome.attempts + attempts[outcome.ordinal])
        if isinstance(outcome, Failed)
        else outcome
        for outcome in outcomes
    ]


def _pack(latents: dict[int, _FaceLatents]) -> bytes:
    """z and w as safetensors, a row per accepted face in the order of ordinals."""
    rows = [latents[ordinal] for ordinal in sorted(latents)]
    empty = np.zeros((0, 0), np.float32)
    return save(
        {
            "z": np.stack([z for z, _ in rows]) if rows else empty,
            "w": np.stack([w for _, w in rows]) if rows else empty,
        }
    )
