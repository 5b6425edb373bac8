"""Step 1 of the naive workflow: generate faces one by one and write PNG files."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from faceloom.store.model import open_model
from faceloom.store.profile import model_folder
from faceloom.stylegan2.network import Generator

CANDIDATES = 1000

model = open_model(model_folder("tiny", "generator"))
weights = load_file(model.weights_path)
generator = Generator(**model.network)
generator.latent_avg.copy_(weights.pop("latent_avg"))
generator.load_state_dict(weights)
generator.eval()

out = Path(sys.argv[1])
out.mkdir(parents=True)
with torch.no_grad():
    for seed in range(CANDIDATES):
        z = torch.from_numpy(np.random.RandomState(seed).randn(1, generator.style_dim)).float()
        image = generator(z, psi=0.7)
        pixels = (image * 127.5 + 128).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
        Image.fromarray(pixels.numpy()).save(out / f"{seed:06d}.png")
