"""Step 3 of the naive workflow: read every kept face and write its drawing."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from faceloom.sketch.network import SketchSimplification, apply_levels, normalise
from faceloom.store.model import open_model
from faceloom.store.profile import model_folder

model = open_model(model_folder("tiny", "sketch"))
options = model.options
network = SketchSimplification(**model.network)
network.load_state_dict({name: t.float() for name, t in load_file(model.weights_path).items()})
network.eval()

out = Path(sys.argv[2])
out.mkdir(parents=True)
with torch.no_grad():
    for file in map(Path, json.loads(Path(sys.argv[1]).read_text())):
        picture = Image.open(file).convert("L").resize((256, 256), Image.Resampling.LANCZOS)
        grey = torch.from_numpy(np.array(picture))[None, None].float() / 255
        drawing = network(normalise(grey, options["mean"], options["std"]))
        drawing = apply_levels(drawing, options["black"], options["white"])
        pixels = (drawing[0, 0] * 255).round().to(torch.uint8)
        Image.fromarray(pixels.numpy()).save(out / file.name)
