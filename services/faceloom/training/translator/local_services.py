"""Models behind their services' handlers in this process, so that what is measured is what is served."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from google.rpc import status_pb2

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.core.arrays import Pixels
from faceloom.core.errors import UsageError, from_status
from faceloom.core.images import decode_grey, decode_rgb, encode
from faceloom.layouts.pictures import read_layout
from faceloom.runtime.batch import run_batch
from faceloom.runtime.service import service
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2
from faceloom.store.model import Model, open_model
from faceloom.store.profile import model_folder
from faceloom.store.torch_model import available_device
from faceloom.translator.model import FACE, SKETCH
from faceloom.translator.v1 import translator_pb2 as pb


class Served:
    """One model, answering the messages of its service.

    Raises:
        BrokenModel: The folder holds no intact model.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._handler = service(name).new_handler()
        self._handler.load(folder, available_device())
        (self._method,) = service(name).methods

    def answer(self, request: Message) -> bytes:
        """The serialized response.

        Raises:
            ServiceError: The service refuses the request.
        """
        call = engine_pb2.EngineCall(method=self._method, request=request.SerializeToString())
        (result,) = run_batch(self._handler, engine_pb2.EngineBatch(calls=[call])).results
        if result.WhichOneof("outcome") == "error":
            raise from_status(status_pb2.Status.FromString(result.error))
        return result.response


class Redrawing:
    """The sketch and the segmentation model of a profile: what can be seen in a face."""

    def __init__(self, profile: str) -> None:
        self._sketch = Served("sketch", model_folder(profile, "sketch"))
        self._segmentation = Served("segmentation", model_folder(profile, "segmentation"))

    def lines(self, face: Pixels) -> Pixels:
        """The drawing of a face: [S, S, 3] -> [H, W], dark lines on white."""
        request = sketch_pb2.SketchRequest(images=[_raw(face)])
        response = sketch_pb2.SketchResponse.FromString(self._sketch.answer(request))
        return decode_grey(response.sketches[0], "sketches[0]")

    def layout(self, face: Pixels) -> Pixels:
        """The layout of a face: [S, S, 3] -> class ids [H, W]."""
        request = segmentation_pb2.SegmentRequest(images=[_raw(face)])
        response = segmentation_pb2.SegmentResponse.FromString(self._segmentation.answer(request))
        return read_layout(response.layouts[0], "layouts[0]").labels


class Translating:
    """A translator with a task.

    Args:
        folder: Of the model.
        task: `sketch`, `segmentation` or `face`.

    Raises:
        BrokenModel: The folder holds no intact model.
        UsageError: The model is no translator, or was not trained for the task.
    """

    def __init__(self, folder: Path, task: str) -> None:
        self.model = _model_for(folder, task)
        # Of the faces it makes.
        self.side: int = self.model.network["decoder"]["size"]
        self._task = task
        self._served = Served("translator", folder)

    def plain(self, condition: Pixels) -> Pixels:
        """The face of a condition, [H, W] or a face's [H, W, 3], and of nothing else, [S, S, 3]."""
        return self._faces(condition)[0]

    def variants(self, condition: Pixels, count: int, seed: int) -> list[Pixels]:
        """Its faces in the styles of that many seeds from `seed` on."""
        return self._faces(condition, variants=count, style_seed=seed)

    def mean_face(self, condition: Pixels) -> Pixels:
        """The face of the decoder's mean latent in all layers; nothing of the condition is left in it."""
        # Two layers per resolution, and one more for the last picture.
        layers = range(2 * self.side.bit_length() - 4)
        return self._faces(condition, style_seed=0, truncation_psi=0, mixed_layers=layers)[0]

    def _faces(self, condition: Pixels, **fields: Any) -> list[Pixels]:
        request = pb.TranslateRequest(**fields)
        if self._task == SKETCH:
            request.sketch.CopyFrom(encode(condition, image_pb2.IMAGE_FORMAT_GRAY8))
        elif self._task == FACE:
            request.face.CopyFrom(_raw(condition))
        else:
            request.layout.image.CopyFrom(encode(condition, image_pb2.IMAGE_FORMAT_LABELS8))
            request.layout.order = pb.LABEL_ORDER_CELEBAMASK_HQ
        response = pb.TranslateResponse.FromString(self._served.answer(request))
        return [decode_rgb(made.image, "translations") for made in response.translations]


def _model_for(folder: Path, task: str) -> Model:
    model = open_model(folder)
    if model.service != "translator":
        raise UsageError(f"{folder} is a model of the {model.service} service, not a translator")
    encoders: Sequence[str] = list(model.network["encoders"])
    if task not in encoders:
        raise UsageError(f"{folder} has no {task} encoder; it has {', '.join(encoders)}")
    return model


def _raw(face: Pixels) -> image_pb2.Image:
    return encode(face, image_pb2.IMAGE_FORMAT_RGB8)
