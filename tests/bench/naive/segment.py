"""Step 4 of the naive workflow: read every kept face and write its label map."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from faceloom.layouts.labels import encode_png
from faceloom.segmentation.network import IMAGENET_MEAN, IMAGENET_STD, BiSeNet
from faceloom.store.model import open_model
from faceloom.store.profile import model_folder

model = open_model(model_folder("tiny", "segmentation"))
network = BiSeNet(**model.network)
network.load_state_dict({name: t.float() for name, t in load_file(model.weights_path).items()})
network.eval()
mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

out = Path(sys.argv[2])
out.mkdir(parents=True)
with torch.no_grad():
    for file in map(Path, json.loads(Path(sys.argv[1]).read_text())):
        picture = Image.open(file).convert("RGB").resize((256, 256), Image.Resampling.LANCZOS)
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        labels = network((x - mean) / std)[0].argmax(0).to(torch.uint8)
        (out / file.name).write_bytes(encode_png(labels.numpy()))
