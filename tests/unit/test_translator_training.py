"""How an encoder is trained: gradients, averages, what is decoded."""

import copy
import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.translator_data import DECODER, small_options
from torch import Tensor, nn

from faceloom.stylegan2.network import Generator, default_channels
from faceloom.training.translator.batches import PairBatch
from faceloom.training.translator.distributed import World
from faceloom.training.translator.losses import Criterion
from faceloom.training.translator.options import PROFILES, TrainingOptions
from faceloom.training.translator.pairs import TRAIN, VALIDATION, PairedDataset, Pairs
from faceloom.training.translator.run_folder import RunFolder
from faceloom.training.translator.train import initialise
from faceloom.training.translator.trainer import Trainer
from faceloom.translator.model import CHANNELS, FACE, SEGMENTATION, SKETCH, Translator

ROOT = Path(__file__).parents[2]
CPU = World(torch.device("cpu"))


class Pixels(nn.Module):
    """Mean difference of pixels, for a perceptual distance that needs no weights."""

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        return (image - target).abs().mean((1, 2, 3))


def make_pairs(decoder: Generator, task: str, count: int, seed: int) -> Pairs:
    """Conditions that show w: each is a few random projections of it, drawn as an area's shade."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, decoder.style_dim, generator=random)
    with torch.no_grad():
        w = decoder.mapping(z)
        faces = decoder.synthesis(decoder.broadcast(w)).clamp(-1, 1)
    eye = torch.randn(decoder.style_dim, 16, generator=torch.Generator().manual_seed(99))
    shade = torch.special.ndtr((w - w.mean(0)) @ eye / (w.std(0).norm())).view(count, 1, 4, 4)
    area = shade.repeat_interleave(8, 2).repeat_interleave(8, 3)
    conditions = area * (18 if task == SEGMENTATION else 255)
    channels = 3 if task == FACE else 1
    return Pairs(
        tuple(f"{seed}-{i}" for i in range(count)),
        conditions.round().byte().repeat(1, channels, 1, 1),
        ((faces + 1) * 127.5).round().byte(),
        w,
    )


def make_trainer(
    out: Path,
    options: TrainingOptions,
    task: str = SKETCH,
    network: dict[str, Any] = DECODER,
    faces: int = 24,
) -> Trainer:
    torch.manual_seed(options.seed)
    translator = Translator(network, {task: options.encoder})
    initialise(translator.encoders[task])
    decoder = translator.decoder
    decoder.latent_avg.copy_(decoder.mean_latent(1000, torch.Generator().manual_seed(0)))
    splits = {
        TRAIN: make_pairs(decoder, task, faces, 1), VALIDATION: make_pairs(decoder, task, 5, 2),
    }  # fmt: skip
    criterion = Criterion(options, decoder.latent_avg, splits[TRAIN].w.std(0), Pixels())
    out.mkdir(parents=True, exist_ok=True)
    data = PairedDataset("digest", 0, "generator", splits)
    return Trainer(task, options, translator, criterion, data, RunFolder(out), {"task": task}, CPU)


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_begins_near_the_mean_face_with_heads_that_hand_on_what_they_see() -> None:
    torch.manual_seed(0)
    encoder = Translator(DECODER, {SKETCH: PROFILES["tiny"].encoder}).encoders[SKETCH]
    initialise(encoder)
    seen: list[Tensor] = []
    for head in encoder.styles:
        head.convs.register_forward_hook(lambda module, inputs, x: seen.append(x))

    offsets = encoder(torch.rand(8, 1, 64, 64))

    sizes = torch.stack([x.square().mean().sqrt() for x in seen])
    assert len(sizes) == 8 and sizes.min() > 0.3 and sizes.max() < 3
    assert 0 < offsets.std() < 0.05


@pytest.mark.parametrize("task", CHANNELS)
def test_the_latents_are_learned_from_what_the_encoder_sees(tmp_path: Path, task: str) -> None:
    options = small_options(
        steps=60, batch=8, augment=0.0, latent_only=1.0, validate_every=20, sample_every=60
    )
    make_trainer(tmp_path, options, task).run(quiet)

    latent = [float(row["latent"]) for row in lines(tmp_path)]
    assert sum(latent[-5:]) < 0.7 * sum(latent[:5])


def test_without_latents_the_pictures_teach_through_the_frozen_decoder(tmp_path: Path) -> None:
    options = small_options(steps=40, batch=8, augment=0.0, latent_weight=0.0, sample_every=60)
    trainer = make_trainer(tmp_path, options)
    before = copy.deepcopy(trainer.decoder.state_dict())

    trainer.run(quiet)

    rows = lines(tmp_path)
    assert all(row["l2"] for row in rows)
    l2 = [float(row["l2"]) for row in rows]
    assert sum(l2[-5:]) < 0.7 * sum(l2[:5])
    for name, value in trainer.decoder.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in trainer.decoder.parameters())


@pytest.mark.parametrize(
    "network",
    [
        {"size": 16, "style_dim": 8, "n_mlp": 1, "channels": {"4": 4, "8": 6, "16": 8}},
        {"size": 64, "style_dim": 20, "n_mlp": 5, "channels": {str(2**k): 4 for k in range(2, 7)}},
        # The published widths, at a multiplier that published pSp cannot load.
        {"size": 8, "style_dim": 16, "n_mlp": 2, "channel_multiplier": 1},
    ],
)
def test_any_decoder_will_do(tmp_path: Path, network: dict[str, Any]) -> None:
    size = network["size"]
    options = small_options(steps=2, image_side=min(32, size))
    trainer = make_trainer(tmp_path, options, SKETCH, network, faces=6)
    assert trainer.decoder.n_latent == 2 * int(math.log2(size)) - 2
    if "channels" not in network:
        assert trainer.decoder.input.input.shape[1] == default_channels(1)[4]

    trainer.run(quiet)

    assert all(float(row["loss"]) < 100 for row in lines(tmp_path))


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    """Of one update, before they are clipped: Adam's first moment holds a tenth of them."""
    trainer._update()
    names = dict(trainer.encoder.named_parameters())
    return {
        name: trainer.optimizer.state[parameter]["exp_avg"] * 10
        for name, parameter in names.items()
    }


def test_accumulated_parts_are_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for parts in (1, 4):
        options = small_options(batch=8, accumulate=parts, clip=1e9)
        trainer = make_trainer(tmp_path / str(parts), options)
        # Statistics of a part are not those of the batch; everything else must be.
        trainer.encoder.eval()
        monkeypatch.setattr(trainer.encoder, "train", lambda: None)
        found.append(gradients(trainer))

    for name, whole in found[0].items():
        torch.testing.assert_close(found[1][name], whole, atol=1e-5, rtol=1e-3, msg=name)


def test_bf16_computes_coarsely_and_keeps_weights_fine(tmp_path: Path) -> None:
    fine = gradients(make_trainer(tmp_path / "a", small_options(clip=1e9)))
    coarse = gradients(make_trainer(tmp_path / "b", small_options(clip=1e9, precision="bf16")))

    one, other = (torch.cat([g.flatten() for g in found.values()]) for found in (fine, coarse))
    assert other.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=0)
    assert 0.9 < cosine < 1 - 1e-6


def test_the_average_follows_with_a_short_memory_at_first(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, small_options(steps=4, average=0.3, log_every=2))
    expected = copy.deepcopy(trainer.encoder.state_dict())
    step = 0

    def follow(what: str, done: int, total: int) -> None:
        nonlocal step
        # 1/10, 2/11, 3/12, then 0.3 is the limit: 4/13 is more.
        decay = (1 / 10, 2 / 11, 3 / 12, 0.3)[step]
        step += 1
        for name, now in trainer.encoder.state_dict().items():
            expected[name] = expected[name] * decay + now * (1 - decay)

    trainer.run(follow)

    assert step == 4
    for name, value in trainer.average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name])
        else:
            assert value == 4
    assert not trainer.average.training


def test_latents_alone_come_first_and_some_pictures_after(tmp_path: Path) -> None:
    options = small_options(steps=4, batch=8, latent_only=0.5, decode_every=4)
    trainer = make_trainer(tmp_path, options)
    decoded: list[int] = []
    synthesis = trainer.decoder.synthesis
    trainer.decoder.synthesis = lambda w: decoded.append(len(w)) or synthesis(w)  # type: ignore[method-assign]
    trainer.judge.scores = lambda encoder: None  # type: ignore[method-assign, assignment]
    trainer.judge.sheet = lambda encoder: None  # type: ignore[method-assign, assignment]
    for trainer.step in range(4):
        trainer._update()

    assert decoded == [2, 2]
    plain = replace(options, latent_weight=0.0)
    assert [plain.decoded(step) for step in (0, 3)] == [slice(None)] * 2


def test_decoded_pictures_are_compared_with_their_own_faces(tmp_path: Path) -> None:
    options = small_options(batch=4, decode_every=2, augment=0.0, image_side=32)
    trainer = make_trainer(tmp_path, options)
    batch = trainer.batches.at(range(4))
    seen: list[tuple[Tensor, Tensor]] = []
    trainer.criterion.image_terms = lambda i, f: seen.append((i, f)) or {}  # type: ignore[method-assign]
    true = batch.w[:, None] - trainer.decoder.latent_avg
    trainer.model = lambda x: true.expand(-1, trainer.decoder.n_latent, -1)  # type: ignore[assignment]
    trainer.model.train = lambda: None  # type: ignore[attr-defined]

    terms = trainer._terms(PairBatch(batch.x, batch.faces, batch.w))

    ((images, faces),) = seen
    assert len(images) == 2
    assert (images.clamp(-1, 1) - faces).abs().max() < 0.01
    assert terms["latent"] < 1e-10
