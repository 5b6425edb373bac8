"""The recipe of a translator's encoder: pSp on the pairs of a build, told the true latents as well."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from faceloom.core.errors import UsageError
from faceloom.core.extras import how_to_install
from faceloom.store.model import Model, open_model
from faceloom.store.torch_model import load_weights
from faceloom.stylegan2.layers import EqualLinear
from faceloom.training.translator.distributed import World, join_world
from faceloom.training.translator.export import export
from faceloom.training.translator.identity import load_identity
from faceloom.training.translator.losses import Criterion, LiteDistance
from faceloom.training.translator.lpips import load_lpips
from faceloom.training.translator.options import TrainingOptions
from faceloom.training.translator.pairs import (
    TRAIN,
    PairedDataset,
    ProgressCallback,
    check_latents,
    read_dataset,
)
from faceloom.training.translator.run_folder import RunFolder
from faceloom.training.translator.trainer import Trainer
from faceloom.training.translator.weight_files import digest_of
from faceloom.translator.model import Translator

# Spread of the first styles, as a share of what the heads would make.
_FIRST_STYLES = 0.02


def train(
    task: str,
    dataset: Path,
    options: TrainingOptions,
    out: Path,
    generator: Path,
    lpips_weights: Sequence[Path] = (),
    id_weights: Path | None = None,
    device: str = "auto",
    progress: ProgressCallback = lambda what, done, total: None,
) -> None:
    """Train an encoder, or go on with the run in `out`, and write the model to `out / "model"`.

    Args:
        task: `sketch`, `segmentation` or `face`: what the encoder sees.
        dataset: What `faceloom build` wrote.
        options: Everything else that decides the result.
        out: Folder of the run.
        generator: Model folder of the generator that made the dataset; it becomes the decoder.
        lpips_weights: Files or model folders of LPIPS on AlexNet; without them EfficientNet-Lite0 compares
            pictures.
        id_weights: File or model folder of IR-SE50; without it there is no identity loss.
        device: `auto`, `cpu` or `cuda`.
        progress: Told of pairs read and trained on.

    Raises:
        UsageError: The dataset, a file, a folder or an option is wrong. Nothing was written then.
        BrokenModel: The folder of a model is not what it says it is.
    """
    with join_world(device) as world:
        options.share(world.size)
        check_precision(options, world.device)
        torch.manual_seed(options.seed)
        model = open_model(generator)
        translator = new_translator(task, options, model)
        image_side = min(options.image_side, translator.decoder.size)
        data = read_dataset(dataset, task, options.side, image_side, tell=progress)
        if data.generator != model.weights.sha256:
            raise UsageError(f"{dataset} was made by another generator than {generator}")
        check_latents(data.splits[TRAIN], translator.decoder)
        criterion = Criterion(
            options,
            translator.decoder.latent_avg,
            data.splits[TRAIN].w.std(0, correction=0),
            load_lpips(lpips_weights) if lpips_weights else lite_distance(),
            load_identity(id_weights) if id_weights else None,
        )
        description = describe(task, data, options, lpips_weights, id_weights)
        folder = RunFolder(out)
        with _entered(folder, description, world):
            trainer = Trainer(
                task, options, translator, criterion, data, folder, description, world
            )
            trainer.run(progress)
            if world.first:
                export([folder.best], generator, out / "model")
            world.wait()


def new_translator(task: str, options: TrainingOptions, generator: Model) -> Translator:
    """A translator of one task with a fresh encoder and the generator's decoder."""
    translator = Translator(generator.network, {task: options.encoder})
    translator.decoder.load_state_dict(load_weights(generator))
    initialise(translator.encoders[task])
    return translator


def describe(
    task: str,
    data: PairedDataset,
    options: TrainingOptions,
    lpips_weights: Sequence[Path],
    id_weights: Path | None,
) -> dict[str, Any]:
    """Everything that decides the result of a run; a run is gone on with only by the same."""
    return {
        "task": task,
        "dataset": data.digest,
        "dataset_seed": data.seed,
        "generator": data.generator,
        "perceptual": digest_of(lpips_weights) if lpips_weights else "efficientnet-lite0",
        "identity": digest_of([id_weights]) if id_weights else None,
        "options": asdict(options),
    }


@contextmanager
def _entered(folder: RunFolder, description: Mapping[str, Any], world: World) -> Iterator[None]:
    """The run's folder, held by the first process for all of them."""
    folder.check(description)
    # The first one may not write before all have looked, nor may the others read before it is ready.
    world.wait()
    with folder.held(description) if world.first else nullcontext():
        world.wait()
        yield


def initialise(encoder: nn.Module) -> None:
    """Begin near the mean face, with style heads that hand on what they see.

    With PyTorch's own initial weights pictures fade over the convolutions of a head, and its last layer
    learns slowly from so little. With a last layer of full size it first has to be unlearned, which can kill
    what lies below. Either way a run stays near the mean face for thousands of steps.
    """
    for name, layer in encoder.named_modules():
        if not name.startswith("styles."):
            continue
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nn.LeakyReLU().negative_slope)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, EqualLinear):
            nn.init.normal_(layer.weight, std=_FIRST_STYLES)


def lite_distance() -> LiteDistance:
    """The perceptual distance of EfficientNet-Lite0.

    Raises:
        UsageError: Its package is not installed.
    """
    try:
        return LiteDistance()
    except ModuleNotFoundError as error:
        raise UsageError(f"{how_to_install(str(error.name))}; or give --lpips-weights") from None


def check_precision(options: TrainingOptions, device: torch.device) -> None:
    """Make sure that the device can do what is asked for.

    Raises:
        UsageError: It cannot.
    """
    if options.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UsageError("--precision bf16: this GPU cannot; use fp32")
