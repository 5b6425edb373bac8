"""A training run: everything that changes while an encoder is trained, and how.

Where a step stands is all that decides what it does: which pictures, how they are changed, which rate. So a
run that is killed goes on from its checkpoint as if nothing had happened, and several processes under
torchrun do together what one does alone.
"""

import copy
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from faceloom.training.translator.batch_norm import use_global_statistics
from faceloom.training.translator.batches import Batches, PairBatch
from faceloom.training.translator.distributed import World
from faceloom.training.translator.losses import TERMS, Criterion
from faceloom.training.translator.options import TrainingOptions
from faceloom.training.translator.pairs import TRAIN, VALIDATION, PairedDataset, ProgressCallback
from faceloom.training.translator.run_folder import RunFolder
from faceloom.training.translator.validate import EncoderValidator, ValidationScores
from faceloom.translator.model import Translator

_BETAS = (0.9, 0.99)
_LOWEST_RATE = 0.01


class Trainer:
    """One run.

    Args:
        task: What the encoder sees.
        options: See there.
        translator: With the decoder's weights, and fresh ones in the task's encoder.
        criterion: The loss.
        data: The pairs.
        folder: Where the run lives; it is continued if it has a checkpoint.
        description: What it is a run of.
        world: The processes that share every batch.
    """

    def __init__(
        self,
        task: str,
        options: TrainingOptions,
        translator: Translator,
        criterion: Criterion,
        data: PairedDataset,
        folder: RunFolder,
        description: Mapping[str, Any],
        world: World,
    ) -> None:
        self.task, self.options, self.world = task, options, world
        self.folder, self.description = folder, description
        self.criterion = criterion.to(world.device)
        self.decoder = translator.decoder.requires_grad_(False).eval().to(world.device)
        self.decoder.freeze()
        self.encoder = translator.encoders[task].to(world.device)
        self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if world.size > 1:
            use_global_statistics(self.encoder)
        self.average = copy.deepcopy(self.encoder).requires_grad_(False).eval()
        groups = parameter_groups(self.encoder, options.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, options.rate, _BETAS, fused=True)
        train, validation = data.splits[TRAIN], data.splits[VALIDATION]
        seed, device = options.seed, world.device
        self.batches = Batches(task, train, seed, options.augment, device)
        plain = Batches(task, validation, seed, 0.0, device)
        self.judge = EncoderValidator(
            task, plain, len(validation), options.batch, self.decoder, self.criterion
        )
        self.step = 0
        self.best = math.inf
        self._restore()
        self.model: nn.Module = self.encoder
        if world.size > 1:
            self.model = DistributedDataParallel(self.encoder, forward_sync_buffers=False)

    def run(self, progress: ProgressCallback) -> None:
        """Do the steps that remain, telling of pairs in the first process."""
        options, since, images = self.options, time.monotonic(), 0
        while self.step < options.steps:
            terms = self._update()
            self._move_average()
            self.step += 1
            images += options.batch
            if self._due(options.log_every):
                self._log(self._over_processes(terms), images / (time.monotonic() - since))
                since, images = time.monotonic(), 0
            if self.world.first:
                if self._due(options.sample_every):
                    self.folder.write_sample(self.step, self.judge.sheet(self.average))
                if self._due(options.save_every):
                    self.folder.write_checkpoint(self._state())
                progress("training", self.step * options.batch, options.steps * options.batch)

    def _update(self) -> dict[str, Tensor]:
        """One update of the weights; the terms of this process, mean over the parts of its batch."""
        options, world, share = self.options, self.world, self.options.share(self.world.size)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, options)
        self.optimizer.zero_grad()
        means: dict[str, Tensor] = {}
        for part in range(options.accumulate):
            start = self.step * options.batch + (part * world.size + world.rank) * share
            batch = self.batches.at(range(start, start + share))
            with self._gradients_meet(part == options.accumulate - 1):
                terms = self._terms(batch)
                torch.autograd.backward(self.criterion.total(terms) / options.accumulate)
            for name, term in terms.items():
                means[name] = means.get(name, 0) + term.detach() / options.accumulate
        nn.utils.clip_grad_norm_(self.encoder.parameters(), options.clip)
        self.optimizer.step()
        return means

    def _terms(self, batch: PairBatch) -> dict[str, Tensor]:
        """The loss of one part. Networks run in the chosen precision, distances in float32."""
        self.model.train()
        chosen = self.options.decoded(self.step)
        bf16 = self.options.precision == "bf16"
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=bf16):
            w_plus = self.model(batch.x).float() + self.decoder.latent_avg
            images = None if chosen is None else self.decoder.synthesis(w_plus[chosen])
        terms = self.criterion.latent_terms(w_plus, batch.w)
        if images is not None:
            terms |= self.criterion.image_terms(images.float(), batch.faces[chosen])
        return terms

    def _gradients_meet(self, now: bool) -> AbstractContextManager[None]:
        """Gradients of several processes are averaged once per update, with the last part."""
        if now or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    @torch.no_grad()
    def _move_average(self) -> None:
        # Short memory at first, or the initial weights would linger for the whole of a short run.
        decay = min(self.options.average, (1 + self.step) / (10 + self.step))
        now = self.encoder.state_dict()
        for name, mean in self.average.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(now[name], 1 - decay)
            else:
                mean.copy_(now[name])

    def _due(self, interval: int) -> bool:
        return self.step % interval == 0 or self.step == self.options.steps

    def _over_processes(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = self.world.mean(torch.stack(list(terms.values())))
        return dict(zip(terms, values, strict=True))

    def _log(self, terms: Mapping[str, Tensor], speed: float) -> None:
        """A line of metrics; validates first when that is due."""
        if not self.world.first:
            return
        scores = self._validate() if self._due(self.options.validate_every) else None
        loss = float(self.criterion.total(terms))
        row: dict[str, float | None] = {"step": self.step, "loss": loss}
        row |= {name: float(terms[name]) if name in terms else None for name in TERMS}
        row |= {
            "rate": rate_at(self.step - 1, self.options),
            "images_per_second": round(speed, 1),
            "validation_perceptual": scores.perceptual if scores else None,
            "validation_latent": scores.latent if scores else None,
        }
        self.folder.append_metrics(row)

    def _validate(self) -> ValidationScores:
        """Scores of the averaged weights, which are kept when none were better."""
        scores = self.judge.scores(self.average)
        if scores.perceptual < self.best:
            self.best = scores.perceptual
            self.folder.write_best(
                {
                    "task": self.task,
                    "network": self.options.encoder,
                    "encoder": self.average.state_dict(),
                    "step": self.step,
                    "scores": asdict(scores),
                    "run": dict(self.description),
                }
            )
        return scores

    def _state(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            # Nothing draws from it now; a network with dropout would.
            "random": torch.get_rng_state(),
            "step": self.step,
            "best": self.best,
        }

    def _restore(self) -> None:
        state = self.folder.read_checkpoint()
        if state is not None:
            self.encoder.load_state_dict(state["encoder"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            self.step, self.best = state["step"], state["best"]
        if self.world.first:
            self.folder.forget_metrics_after(self.step)


def rate_at(step: int, options: TrainingOptions) -> float:
    """The learning rate of a step: a linear rise, then half a cosine."""
    rise = min(1.0, (step + 1) / options.warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * step / options.steps))
    return options.rate * rise * max(fall, _LOWEST_RATE)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels decay; biases, slopes and norms do not."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
