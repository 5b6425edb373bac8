"""Recipe of the ``tiny`` generator: a StyleGAN2 that learns a DCGAN teacher's pictures, z by z.

The student gets the very z of the teacher, so every picture has a target and blur is only
underfitting. It is trained from coarse to fine, because low resolutions cost next to nothing and
hold pose, hair and light:

1. 8, 16, 32, then 64 px: pixel L1 over a pyramid, plus *hints*: 1x1 convolutions of the student's
   feature maps must match the teacher's maps of the same resolution.
2. 64 px: the same plus the distance of EfficientNet-Lite features of both pictures, plus a weak
   adversarial term on those features for texture; learning rate down to zero.

Half of every batch is truncated: the student at w pulled to its mean by psi is paired with the
teacher at z times (1 + psi) / 2, so psi keeps its meaning without any rejection.
"""

from __future__ import annotations

import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.training.contact_sheets import save_sheet
from faceloom.training.features import LiteFeatures
from faceloom.training.generator.adversary import hinge
from faceloom.training.generator.frechet import FrechetEvaluator, faces
from faceloom.training.generator.latent_screening import learn_verdict, steer
from faceloom.training.generator.objective import feature_l1, pyramid_l1
from faceloom.training.generator.state import NETWORK, GeneratorRun, update_average
from faceloom.training.generator.teacher import Teacher, load_teacher, unit_z
from faceloom.training.runs import save_state

_HINT = 0.3
_PSI_LOW = 0.4


@dataclass(frozen=True)
class TrainingPhase:
    """One stretch of training: ``images`` at ``size`` px.

    lr: of Muon; it falls to zero over the phase if ``decay``. pixel, feature, adversary: factors of
    the loss terms. ema_half_life: of the averaged weights, in images.
    """

    size: int
    images: int
    batch: int
    lr: float
    pixel: float = 4.0
    feature: float = 0.0
    adversary: float = 0.0
    decay: bool = False
    ema_half_life: int = 1000


PHASES = (
    TrainingPhase(8, 8_000, 64, 0.03),
    TrainingPhase(16, 40_000, 64, 0.03),
    TrainingPhase(32, 40_000, 64, 0.03),
    TrainingPhase(64, 7_616, 32, 0.02),
    TrainingPhase(64, 30_016, 32, 0.02, 2.0, 4.0, 0.2, decay=True, ema_half_life=2000),
)


def sample_pair(
    run: GeneratorRun, teacher: Teacher, count: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """One batch: z, psi [N, 1, 1] (half of them 1, half uniform from 0.4), the teacher's maps."""
    z = unit_z(count, run.random)
    psi = _PSI_LOW + (1 - _PSI_LOW) * torch.rand(count, 1, 1, generator=run.random)
    psi[: count // 2] = 1.0
    scale = (1 + psi[:, 0]) / 2
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        taps = teacher.features(steer(run.verdict, z) * scale)
    return z, psi, [tap.float() for tap in taps]


def step(
    run: GeneratorRun, teacher: Teacher, features: LiteFeatures, phase: TrainingPhase
) -> dict[str, float]:
    """One update of the student, and of the adversary where the phase has one; the loss terms."""
    z, psi, taps = sample_pair(run, teacher, phase.batch)
    student = run.student
    with torch.autocast("cpu", dtype=torch.bfloat16):
        w = student.mapping(z)
        with torch.no_grad():
            student.latent_avg.lerp_(w.float().mean(dim=0), 0.02)
        w_plus = student.truncate(student.broadcast(w), psi)
        levels = student.pyramid(w_plus, "none", phase.size)
        hint = run.hints(levels, taps)
    image = levels[-1][1].float()
    target = F.interpolate(taps[-1], size=image.shape[-2:], mode="area")
    pixel = pyramid_l1(image, target)
    terms = {"pixel": pixel, "hint": hint}
    loss = phase.pixel * pixel + _HINT * hint
    if phase.feature:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            theirs = [m.float() for m in features(target)]
        ours = features(image)  # fp32: the backward pass of depthwise convolutions is slow in bf16
        feature = feature_l1(ours, theirs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fooled = -run.adversary(ours).float().mean()
        loss = loss + phase.feature * feature + phase.adversary * fooled
        terms |= {"feature": feature, "fooled": fooled}
    run.adam.zero_grad()
    run.muon.zero_grad()
    torch.autograd.backward(loss)
    run.adam.step()
    run.muon.step()
    if phase.feature:
        run.adversary_adam.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            real, fake = run.adversary(theirs), run.adversary([m.detach() for m in ours])
        caught = hinge(real.float(), fake.float())
        torch.autograd.backward(caught)
        run.adversary_adam.step()
        terms["caught"] = caught
    return {name: float(term.detach()) for name, term in terms.items()}


def train(
    teacher_file: Path,
    scores_file: Path,
    out: Path,
    phases: tuple[TrainingPhase, ...] = PHASES,
    seed: int = 0,
    threads: int = 1,
    save_seconds: float = 120.0,
    judge_images: int = 17_000,
    judge_count: int = 5_000,
) -> Path:
    """Train, or continue the run in ``out``; returns the checkpoint's path.

    teacher_file: ``weights.tar`` of gan-face-generate. scores_file: what screen_teacher.py made of
    ``screening_faces``. Writes into ``out``: checkpoint.pt (all state, replaced atomically), best.pt
    (averaged weights with the smallest Fréchet distance), metrics.csv, and sheet-*.png at psi 0.5,
    0.7 and 1. Killed at any time it continues from the last checkpoint as if nothing had happened.
    On CPU set MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ to some GiB: glibc otherwise maps
    and faults every activation anew, at half the speed.
    """
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    teacher = load_teacher(teacher_file)
    features = LiteFeatures()
    run = GeneratorRun(teacher, seed)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        run.restore(torch.load(checkpoint, map_location="cpu", weights_only=True))
        run.verdict.eval().requires_grad_(False)
        print(f"continuing phase {run.phase} at {run.done} images")
    else:
        run.verdict = learn_verdict(scores_file)
    judge: FrechetEvaluator | None = None
    started, saved = time.monotonic() - run.seconds, time.monotonic()

    def save() -> None:
        run.seconds = time.monotonic() - started
        save_state(checkpoint, run.state())

    while run.phase < len(phases):
        phase = phases[run.phase]
        while run.done < phase.images:
            set_rates(run, phase)
            terms = step(run, teacher, features, phase)
            update_average(run, 0.5 ** (phase.batch / phase.ema_half_life))
            before, run.done = run.done, run.done + phase.batch
            run.images += phase.batch
            if run.done // 800 != before // 800:
                log(out, run, phase, terms, time.monotonic() - started)
            if time.monotonic() - saved > save_seconds:
                save()
                saved = time.monotonic()
            last = run.done >= phase.images
            if phase.feature and (last or run.done // judge_images != before // judge_images):
                save()  # judging takes minutes
                judge = judge or FrechetEvaluator(teacher, run.verdict, features, judge_count)
                compare(run, out, judge, started)
                save()
        if not phase.feature:
            sheets(run, out, f"{run.phase}-{run.done:06d}")
        run.phase, run.done = run.phase + 1, 0
        save()
    return checkpoint


def compare(run: GeneratorRun, out: Path, judge: FrechetEvaluator, started: float) -> None:
    """Look at the averaged student beside the teacher, and keep it if it is the best so far."""
    distance = judge.distance(run.average)
    print(f"frechet {distance:.1f}, floor {judge.floor:.1f}", flush=True)
    sheets(run, out, f"{run.phase}-{run.done:06d}")
    run.seconds = time.monotonic() - started
    if distance < run.best:
        run.best = distance
        keep_best(run, out, distance, judge.floor)


def set_rates(run: GeneratorRun, phase: TrainingPhase) -> None:
    """Learning rates at the point where the run is."""
    rate = phase.lr * (1 - run.done / phase.images if phase.decay else 1.0)
    for group in run.muon.param_groups:
        group["lr"] = rate
    for group, factor in zip(run.adam.param_groups, (0.5, 0.1), strict=True):
        group["lr"] = rate * factor


def log(
    out: Path, run: GeneratorRun, phase: TrainingPhase, terms: dict[str, float], seconds: float
) -> None:
    """Append one line to metrics.csv and print it."""
    path = out / "metrics.csv"
    names = ("pixel", "hint", "feature", "fooled", "caught")
    row: list[float | str] = [run.phase, phase.size, run.done, round(seconds)]
    row += [round(terms[name], 4) if name in terms else "" for name in names]
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["phase", "size", "images", "seconds", *names])
        writer.writerow(row)
    print(*row, flush=True)


def sheets(run: GeneratorRun, out: Path, label: str) -> None:
    """A hundred faces of the averaged student, always the same z, at three psi."""
    z = unit_z(100, torch.Generator().manual_seed(99))
    for psi in (0.5, 0.7, 1.0):
        save_sheet(faces(run.average, z, psi), out / f"sheet-{label}-psi{psi}.png")


def keep_best(run: GeneratorRun, out: Path, distance: float, floor: float) -> None:
    """Save the averaged weights with their distance."""
    state = {
        "network": json.dumps(NETWORK),
        "state": run.average.state_dict(),
        "frechet": distance,
        "floor": floor,
        "phase": run.phase,
        "images": run.done,
        "total_images": run.images,
        "seconds": run.seconds,
    }
    save_state(out / "best.pt", state)
