"""What making its batches costs the training of an encoder: one run of the recipe, of which every second step
is handed the same batch again."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from faceloom.builds.options import BuildOptions
from faceloom.cli.build_display import BuildDisplay
from faceloom.cli.build_service import build_in_service
from faceloom.datasets.spec import BuildSpec
from faceloom.store.model import open_model
from faceloom.store.profile import model_folder
from faceloom.store.torch_model import load_weights
from faceloom.training.translator.batches import Batches, PairBatch
from faceloom.training.translator.distributed import World
from faceloom.training.translator.losses import Criterion
from faceloom.training.translator.options import PROFILES, TrainingOptions
from faceloom.training.translator.pairs import TRAIN, read_dataset
from faceloom.training.translator.run_folder import RunFolder
from faceloom.training.translator.train import initialise, lite_distance
from faceloom.training.translator.trainer import Trainer
from faceloom.translator.model import Translator
from tests.bench.turns import rates

TASKS = ("sketch", "segmentation")
CANDIDATES = 1500
STEPS = 200
# Steps of either kind whose seconds are added up.
BLOCK = 5


class EverySecond:
    """Makes the batch of every second step; the others get the first one again."""

    def __init__(self, batches: Batches, size: int) -> None:
        self._batches = batches
        self._size = size
        self._kept = batches.at(range(size))

    def at(self, places: Sequence[int]) -> PairBatch:
        """See `Batches`."""
        return self._kept if places[0] // self._size % 2 else self._batches.at(places)


async def build(scratch: Path) -> Path:
    """A small dataset of the running stack."""
    spec, folder = BuildSpec(CANDIDATES), scratch / "pairs"
    await build_in_service(spec, folder, BuildOptions(), BuildDisplay(spec, quiet=True))
    return folder


def measure(task: str, dataset: Path, scratch: Path) -> dict[str, Any]:
    """Images per second of the steps that are told latents only, of those that decode as well, and of a run
    that has its share of both."""
    torch.set_num_threads(1)
    # What a run does now and then, it does after the last step.
    options = replace(
        PROFILES["tiny"],
        steps=STEPS, log_every=STEPS, validate_every=STEPS, sample_every=STEPS, save_every=STEPS,
    )  # fmt: skip
    seconds = _seconds_of_steps(_trainer(task, options, dataset, scratch / task))
    first = next(step for step in range(STEPS) if options.decoded(step) is not None)
    # The first steps warm up, the last one does more.
    latents_only, decoding = _blocks(seconds[2:first]), _blocks(seconds[first + 2 : -2])
    share = options.latent_only
    whole = {
        way: [share * a + (1 - share) * b for a, b in zip(latents_only[way], blocks, strict=False)]
        for way, blocks in decoding.items()
    }
    images = BLOCK * options.batch
    return {
        "latents_only": rates(latents_only, images),
        "decoding": rates(decoding, images),
        "whole": rates(whole, images),
    }


def _trainer(task: str, options: TrainingOptions, dataset: Path, out: Path) -> Trainer:
    generator = open_model(model_folder("tiny", "generator"))
    torch.manual_seed(options.seed)
    translator = Translator(generator.network, {task: options.encoder})
    translator.decoder.load_state_dict(load_weights(generator))
    initialise(translator.encoders[task])
    data = read_dataset(dataset, task, options.side, options.image_side)
    spread = data.splits[TRAIN].w.std(0, correction=0)
    criterion = Criterion(options, translator.decoder.latent_avg, spread, lite_distance())
    out.mkdir()
    world = World(torch.device("cpu"))
    return Trainer(task, options, translator, criterion, data, RunFolder(out), {}, world)


def _seconds_of_steps(trainer: Trainer) -> list[float]:
    trainer.batches = EverySecond(trainer.batches, trainer.options.batch)  # type: ignore[assignment]
    moments = [time.perf_counter()]
    trainer.run(lambda what, done, total: moments.append(time.perf_counter()))
    return [end - start for start, end in pairwise(moments)]


def _blocks(seconds: Sequence[float]) -> Mapping[str, list[float]]:
    """Seconds of blocks of steps, of either kind; they begin with a step that makes its batch."""
    starts = range(0, len(seconds) - 2 * BLOCK + 1, 2 * BLOCK)
    return {
        way: [sum(seconds[start + odd : start + 2 * BLOCK : 2]) for start in starts]
        for odd, way in enumerate(("training", "without_pipeline"))
    }
