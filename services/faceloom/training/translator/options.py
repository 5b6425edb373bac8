"""Everything that determines a training run but its data: one profile per size, a few overrides."""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from faceloom.core.errors import UsageError

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How an encoder is trained.

    Args:
        side, blocks, widths: Of the encoder, see `GradualStyleEncoder`.
        image_side: Faces are compared at this size; larger ones are pooled to it.
        steps: Updates of the weights.
        batch: Pictures per update, over all processes.
        accumulate: Parts that a batch is cut into, for memory. Batch norm sees one part at a time.
        precision: Of the networks' activations; weights, losses and statistics are float32.
        seed: Of the initial weights, the order of the pictures and their augmentation.
        rate, warm_up, weight_decay, clip: AdamW; linear rise over `warm_up` steps, then cosine fall.
        average: Decay of the moving average of the weights.
        latent_only: Share of the steps, the first ones, that are told the latents only: no decoder runs.
        decode_every: After that, every so many-th picture is decoded and compared.
        l2_weight, perceptual_weight, identity_weight, w_norm_weight: pSp's loss.
        latent_weight: Of the distance to the true latents; 0 is published pSp.
        augment: Strength of augmentation, 0 to 1.
        log_every, validate_every, sample_every, save_every: Intervals in steps.

    Raises:
        UsageError: A number is out of its range.
    """

    side: int
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    image_side: int
    steps: int
    batch: int
    accumulate: int = 1
    precision: Precision = "fp32"
    seed: int = 0
    rate: float
    warm_up: int
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    latent_only: float = 0.0
    decode_every: int = 1
    l2_weight: float = 1.0
    perceptual_weight: float = 0.8
    identity_weight: float = 0.1
    w_norm_weight: float = 0.005
    latent_weight: float = 1.0
    augment: float = 1.0
    log_every: int = 50
    validate_every: int = 500
    sample_every: int = 500
    save_every: int = 250

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "accumulate", "decode_every", "log_every", "validate_every")
        for name in (*counts, "sample_every", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} is {getattr(self, name)}; 1 or more")
        if self.seed < 0 or not 0 <= self.latent_weight < math.inf:
            raise UsageError("--seed and --latent-weight are numbers from 0 on")
        if self.precision not in get_args(Precision):
            raise UsageError(f"--precision is {' or '.join(get_args(Precision))}")
        if self.validate_every % self.log_every:
            raise UsageError("validate_every must be a multiple of log_every: they share a file")

    @property
    def encoder(self) -> dict[str, Any]:
        """Arguments of the encoder."""
        return {"side": self.side, "blocks": list(self.blocks), "widths": list(self.widths)}

    def share(self, processes: int) -> int:
        """Pictures that one process takes of one part of a batch.

        Raises:
            UsageError: The batch cannot be cut evenly.
        """
        parts = processes * self.accumulate
        if self.batch % (parts * self.decode_every):
            raise UsageError(
                f"--batch is {self.batch}, not a multiple of {parts * self.decode_every}"
                f" ({processes} processes, --accumulate {self.accumulate},"
                f" every {self.decode_every} decoded)"
            )
        return self.batch // parts

    def decoded(self, step: int) -> slice | None:
        """Which pictures of a batch this step decodes; pictures without latents are always decoded."""
        if self.latent_weight == 0:
            return slice(None)
        if step < self.latent_only * self.steps:
            return None
        return slice(None, None, self.decode_every)


PROFILES: Final = {
    "tiny": TrainingOptions(
        side=64,
        blocks=(1, 2, 2, 2),
        widths=(16, 32, 64, 96),
        image_side=64,
        steps=8_000,
        batch=16,
        rate=2e-3,
        warm_up=200,
        latent_only=0.4,
        decode_every=2,
        w_norm_weight=0.0005,
    ),
    "full": TrainingOptions(
        side=256,
        blocks=(3, 4, 14, 3),
        widths=(64, 128, 256, 512),
        image_side=256,
        steps=200_000,
        batch=8,
        rate=1e-4,
        warm_up=500,
        validate_every=2500,
        sample_every=1000,
        save_every=2500,
    ),
}
