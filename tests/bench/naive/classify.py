"""Step 2 of the naive workflow: read every face, classify it, list the files to keep."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from faceloom.quality.network import IMAGENET_MEAN, IMAGENET_STD, MixNetS
from faceloom.store.model import open_model
from faceloom.store.profile import model_folder

model = open_model(model_folder("tiny", "quality"))
network = MixNetS(**model.network)
network.load_state_dict({name: t.float() for name, t in load_file(model.weights_path).items()})
network.eval()
mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

kept = []
with torch.no_grad():
    for file in sorted(Path(sys.argv[1]).glob("*.png")):
        side = model.options["side"]
        picture = Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        score = network((x - mean) / std).softmax(1)[0, model.options["keep_index"]].item()
        if score >= model.options["threshold"]:
            kept.append(str(file))
Path(sys.argv[2]).write_text(json.dumps(kept))
