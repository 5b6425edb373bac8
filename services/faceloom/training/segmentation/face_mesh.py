"""Face landmarks and person masks by MediaPipe: the measurements the training targets are made of.

Used by the recipes alone, in a virtual environment of its own, because mediapipe 0.10.21 needs
numpy < 2 and protobuf < 5:

    PYTHONPATH=services <that venv>/bin/python -m faceloom.training.segmentation.face_mesh \
        --faces faces.npy --out mesh.npz
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Landmark indices of MediaPipe's face mesh. "left" and "right" are the subject's sides.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
JAW = (454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58,
       132, 93, 234)  # fmt: skip
UPPER_LIP_TOP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_LIP_BOTTOM = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_TOP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LOWER_LIP_BOTTOM = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
EYE_LIDS = {  # (upper, lower), each from the outer to the inner corner
    "right": ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    "left": ((263, 466, 388, 387, 386, 385, 384, 398, 362), (263, 249, 390, 373, 374, 380, 381, 382, 362)),
}  # fmt: skip
BROWS = {  # (upper, lower), each from the outer to the inner end
    "right": ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)),
    "left": ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)),
}
IRISES = {"right": (469, 470, 471, 472), "left": (474, 475, 476, 477)}
NOSE_OUTLINE = (
    168, 193, 122, 196, 198, 209, 129, 64, 98, 97, 2, 326, 327, 294, 358, 429, 420, 419, 351, 417,
)  # fmt: skip
NOSE_BASE = (64, 98, 97, 2, 326, 327, 294)
NOSE_WINGS = {"right": (49, 129, 64, 98), "left": (279, 358, 294, 327)}
EARS = {"right": (127, 234, 93, 132), "left": (356, 454, 323, 361)}
LANDMARKS = 478

PERSON_SIDE = 128
# MediaPipe's detector wants room around a face: the face fills 192 of 256 pixels.
CANVAS, MARGIN = 256, 32


@dataclass(frozen=True)
class Measurements:
    """For N face images: landmarks [N,478,3] in units of the image's side (NaN where no face was
    found; points may lie outside 0..1), person masks [N,128,128] (0..255) and detector scores [N]
    (0 where nothing was detected)."""

    landmarks: NDArray[np.float32]
    person: NDArray[np.uint8]
    score: NDArray[np.float32]

    def save(self, path: Path) -> None:
        np.savez(path, landmarks=self.landmarks, person=self.person, score=self.score)

    @staticmethod
    def load(path: Path) -> "Measurements":
        with np.load(path) as data:
            return Measurements(data["landmarks"], data["person"], data["score"])


def measure(faces: NDArray[np.uint8]) -> Measurements:
    """Run the three MediaPipe models over RGB faces [N,S,S,3]; about 20 ms a face on one core."""
    import mediapipe  # only in the recipe's own environment

    solutions: Any = mediapipe.solutions
    mesher = solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, max_num_faces=1,
        min_detection_confidence=0.3,
    )  # fmt: skip
    detector = solutions.face_detection.FaceDetection(0, 0.1)
    segmenter = solutions.selfie_segmentation.SelfieSegmentation(0)

    count, inner = len(faces), CANVAS - 2 * MARGIN
    landmarks = np.full((count, LANDMARKS, 3), np.nan, np.float32)
    person = np.zeros((count, PERSON_SIDE, PERSON_SIDE), np.uint8)
    score = np.zeros(count, np.float32)
    for index, face in enumerate(faces):
        large = Image.fromarray(face).resize((inner, inner), Image.Resampling.LANCZOS)
        margins = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
        canvas = np.ascontiguousarray(np.pad(np.asarray(large), margins, mode="edge"))
        meshes = mesher.process(canvas).multi_face_landmarks
        if meshes:
            points = np.array([(p.x, p.y, p.z) for p in meshes[0].landmark], np.float32)
            points[:, :2] = points[:, :2] * CANVAS - MARGIN
            points[:, 2] *= CANVAS
            landmarks[index] = points / inner
        detections = detector.process(canvas).detections or []
        score[index] = max((detection.score[0] for detection in detections), default=0)
        mask = segmenter.process(canvas).segmentation_mask[MARGIN:-MARGIN, MARGIN:-MARGIN]
        small = Image.fromarray((mask * 255).astype(np.uint8)).resize(person.shape[1:])
        person[index] = np.asarray(small)
    return Measurements(landmarks, person, score)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure faces with MediaPipe.")
    parser.add_argument("--faces", type=Path, required=True, help=".npy, uint8 RGB [N,S,S,3]")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    arguments = parser.parse_args()
    measure(np.load(arguments.faces)).save(arguments.out)


if __name__ == "__main__":
    main()
