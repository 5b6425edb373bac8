"""A toy model: no weights, two numbers of each face."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import landmarks_pb2 as pb
import numpy as np

from faceloom.common.v1 import model_pb2
from faceloom.core.arrays import Floats
from faceloom.runtime.handler import Handler, Work


class LandmarksHandler(Handler[Any, Any, tuple[int, int]]):
    request_type = pb.FindLandmarksRequest

    def load(self, folder: Path, device: str) -> None:
        self.model = model_pb2.ModelInfo(
            name="toy", version="1", digest="ab" * 32, license="MIT", device="cpu", processor="AVX2"
        )

    def sample_request(self) -> Any:
        return pb.FindLandmarksRequest()

    def decode(self, request: Any) -> Work[Any]:
        self.check_version(request.model_version)
        return Work([np.frombuffer(image.data, np.uint8) for image in request.images])

    def predict(self, key: Hashable, samples: Sequence[Any]) -> Sequence[tuple[int, int]]:
        return [(int(one.argmin()), int(one.argmax())) for one in samples]

    def outputs(self, key: Hashable, samples: Sequence[Any]) -> Sequence[Floats]:
        return [np.array(found, np.float32) for found in self.predict(key, samples)]

    def encode(self, request: Any, outputs: Sequence[tuple[int, int]]) -> Any:
        faces = [pb.Landmarks(darkest=dark, lightest=light) for dark, light in outputs]
        return pb.FindLandmarksResponse(faces=faces, model=self.model)
