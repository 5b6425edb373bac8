"""Score teacher faces with MediaPipe's face detector; a script of its own, outside the package.

MediaPipe needs numpy < 2 and protobuf < 5, so this file runs in a separate environment and imports
nothing of Faceloom:

    python -m venv mp && mp/bin/pip install mediapipe==0.10.21 pillow
    mp/bin/python services/faceloom/training/generator/screen_teacher.py faces.npy scores.npy

faces.npy holds uint8 [N, 64, 64, 3]; scores.npy gets float32 [N, 2]: the detector's confidence
(0 when it sees no face) and the mean luminance of the face, 0 to 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from mediapipe.python.solutions.face_detection import FaceDetection
from PIL import Image

_FACE = 192
_MARGIN = 32  # the detector was trained on faces with room around them
_WEIGHTS = np.array([0.299, 0.587, 0.114])


def score(detector: FaceDetection, face: np.ndarray) -> tuple[float, float]:
    """Confidence and luminance of one uint8 face [64, 64, 3]."""
    large = np.asarray(Image.fromarray(face).resize((_FACE, _FACE), Image.Resampling.BICUBIC))
    padded = np.pad(large, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="edge")
    found = detector.process(padded).detections
    # the middle of a DigiFace crop is always face
    luminance = float((face[20:48, 20:44] @ _WEIGHTS).mean() / 255)
    return (float(found[0].score[0]) if found else 0.0), luminance


def main(source: Path, target: Path) -> None:
    """Score every face of ``source`` and write ``target``."""
    faces = np.load(source, mmap_mode="r")
    scores = np.zeros((len(faces), 2), np.float32)
    with FaceDetection(model_selection=0, min_detection_confidence=0.05) as detector:
        for index, face in enumerate(faces):
            scores[index] = score(detector, np.asarray(face))
            if index % 5000 == 0:
                print(f"{index} of {len(faces)}", flush=True)
    np.save(target, scores)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
