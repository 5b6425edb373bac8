"""The recipe of the `tiny` sketch model: the Sketch Simplification shape at an eighth of its width,
taught to draw a photo as `line_art` draws it from the face mesh.

At run time it sees nothing but the grey photo. It shares the scenes of the segmentation recipe, so
that a face may be small, sharp and on any ground. Steps, after the segmentation recipe's first
three:

    draw_targets   faces.npy, mesh.npz, labels.npz -> drawings.npz
    train          faces.npy, labels.npz, drawings.npz -> model folder
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.sketch.network import SketchSimplification
from faceloom.store.model import file_sha256
from faceloom.training.runs import TrainingRun, save_model
from faceloom.training.segmentation.scenes import Grounds, Scenes
from faceloom.training.sketch.critic import Studio
from faceloom.training.sketch.evaluate import (
    BLACK,
    HELD_OUT,
    MEAN,
    NETWORK,
    SIDE,
    STD,
    WHITE,
    DrawnFaces,
    evaluate,
    network_input,
    preview,
    write_card_pictures,
)

# Scenes are composed at SIDE and trained on by random crops: the network sees no further than that
# anyway, and more different faces an hour are worth more than whole ones.
CROP = 192
ADVERSARIAL_WEIGHT = 0.05
LICENCE = "MIT"


def line_loss(logits: Tensor, dark: Tensor) -> Tensor:
    """Cross entropy with lines weighted up, plus one minus the overlap of drawn and wanted ink.

    Cross entropy alone hedges: where a line may lie here or a pixel further, it draws both in pale
    grey. The overlap rewards committing to one.
    """
    # The logits say how white a pixel is.
    logits = -logits.float()
    weight = 1 + 3 * dark
    entropy = F.binary_cross_entropy_with_logits(logits, dark, weight)
    ink = logits.sigmoid()
    overlap = 2 * (ink * dark).sum((1, 2, 3)) + 1
    amount = (ink**2).sum((1, 2, 3)) + (dark**2).sum((1, 2, 3)) + 1
    return entropy + 0.3 * (1 - overlap / amount).mean()


def train(
    faces: Path,
    labels: Path,
    drawings: Path,
    out: Path,
    checkpoint: Path,
    images: int = 40_000,
    adversarial_from: int = 20_000,
    batch: int = 8,
    rate: float = 1.5e-3,
    distant_share: float = 0.35,
    seed: int = 0,
    save_every: int = 250,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train on `images` scenes and write the model folder `out`; resumes from `checkpoint`.

    The critic joins after `adversarial_from` scenes, when there are drawings worth criticising.
    `progress` is told (images done, images in all, loss) after each batch. A preview of held-out
    faces is written beside the checkpoint whenever that is saved.
    """
    started = time.monotonic()
    data = DrawnFaces.load(faces, labels, drawings)
    count = len(data.faces) - HELD_OUT
    torch.manual_seed(seed)
    network = SketchSimplification(**NETWORK)
    initialise(network)
    studio = Studio(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = new_optimizer(studio, rate)
    run = TrainingRun.start(studio, optimizer, seed, checkpoint)
    # Of its own seed, so that a resumed run goes on exactly as an undisturbed one would.
    grounds = Grounds(SIDE, torch.Generator().manual_seed(seed + 1))
    total = images // batch
    for step in run.steps(total, rate, save_every):
        chosen = torch.randint(count, (batch,), generator=run.rng)
        scenes = data.scenes(chosen, grounds, distant_share, run.rng)
        grey, dark = crop(scenes, run.rng)
        loss, objective = losses(studio, grey, dark, step * batch >= adversarial_from)
        optimizer.zero_grad()
        torch.autograd.backward(objective)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if progress:
            progress((step + 1) * batch, images, loss.item())
        if (step + 1) % save_every == 0:
            preview(draughtsman_of(run.average), data, checkpoint.with_suffix(".png"))
    average = draughtsman_of(run.average)
    report = evaluate(average, data)
    report["training"] = {
        "images": total * batch, "faces": count, "batch": batch, "side": SIDE, "seed": seed,
        "seconds_of_last_start": round(time.monotonic() - started), "threads": torch.get_num_threads(),
    }  # fmt: skip
    save_model(
        out, service="sketch", network=NETWORK,
        options={"mean": MEAN, "std": STD, "black": BLACK, "white": WHITE},
        weights=average, licence=LICENCE, sources=sources(faces, drawings), metrics=report,
    )  # fmt: skip
    write_card_pictures(average, data, out / "card")


def new_optimizer(studio: Studio, rate: float) -> torch.optim.Optimizer:
    """AdamW; the critic's first moment is shorter, because what it judges changes."""
    groups: list[dict[str, Any]] = [
        {"params": list(studio.draughtsman.parameters())},
        {"params": list(studio.critic.parameters()), "betas": (0.5, 0.99)},
    ]
    return torch.optim.AdamW(groups, rate, weight_decay=0.01)


def crop(scenes: Scenes, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same window of all scenes: what the network sees, and the lines in it."""
    top, left = torch.randint(SIDE - CROP + 1, (2,), generator=rng).tolist()
    rows, columns = slice(top, top + CROP), slice(left, left + CROP)
    grey = network_input(scenes.images[..., rows, columns])
    return grey.contiguous(memory_format=torch.channels_last), scenes.lines[..., rows, columns]


def losses(studio: Studio, grey: Tensor, dark: Tensor, adversarial: bool) -> tuple[Tensor, Tensor]:
    """The loss of the lines, and all that is minimized."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = studio.draughtsman.logits(grey)
    loss = line_loss(logits, dark)
    if not adversarial:
        return loss, loss
    drawn = logits.float().sigmoid()
    with torch.autocast("cpu", torch.bfloat16):
        fooled, critical = studio.adversarial_losses(grey, drawn, 1 - dark)
    return loss, loss + ADVERSARIAL_WEIGHT * fooled + critical


def draughtsman_of(average: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the drawing network among those of the studio."""
    prefix = "draughtsman."
    return {k.removeprefix(prefix): v for k, v in average.items() if k.startswith(prefix)}


def initialise(network: SketchSimplification) -> None:
    """He initialisation: without batch norm, PyTorch's default lets 23 layers fade to nothing. The
    last bias starts at mostly white paper."""
    convolutions = [
        m for m in network if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))
    ]
    for layer in convolutions:
        # A transposed convolution of kernel 4 and stride 2 sums 4 of its 16 taps per output.
        taps = 4 if isinstance(layer, torch.nn.ConvTranspose2d) else layer.kernel_size[0] ** 2
        torch.nn.init.normal_(layer.weight, 0, (2 / (layer.in_channels * taps)) ** 0.5)
        assert layer.bias is not None
        torch.nn.init.zeros_(layer.bias)
    last = convolutions[-1]
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.fill_(2.0)


def sources(faces: Path, drawings: Path) -> list[dict[str, str]]:
    """What the model was made from, with digests of the files this run read."""
    return [
        {
            "name": "gan-face-generate", "version": "1.1.1", "license": "MIT",
            "use": "teacher DCGAN; its samples are the training pictures",
            "file": "faces.npy", "sha256": file_sha256(faces),
        },
        {
            "name": "mediapipe", "version": "0.10.21", "license": "Apache-2.0",
            "use": "face mesh and selfie segmentation behind the drawn targets",
            "file": "drawings.npz", "sha256": file_sha256(drawings),
        },
    ]  # fmt: skip
