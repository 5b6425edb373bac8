"""The orders of classes that a segmentation model may have been trained in."""

from collections.abc import Mapping, Sequence
from typing import Final

from faceloom.layouts.classes import CLASS_NAMES
from faceloom.store.model import BrokenModel, Model

CELEBAMASK_HQ: Final = "celebamask-hq"
BISENET: Final = "bisenet"


def check_classes(model: Model, _served: Mapping[str, Sequence[Model]]) -> None:
    """Makes sure that a model's answers can be brought into CelebAMask-HQ's order, whatever else is served.

    Raises:
        BrokenModel: It has another number of classes, or numbers them in an order that is not known.
    """
    order, classes = model.options.get("order"), model.network.get("classes")
    if order not in (CELEBAMASK_HQ, BISENET):
        raise BrokenModel(
            f"{model.folder} numbers its classes in the order {order!r}; {CELEBAMASK_HQ!r} and"
            f" {BISENET!r} can be served"
        )
    if classes != len(CLASS_NAMES):
        raise BrokenModel(
            f"{model.folder} tells {classes} classes apart; translators and answers have"
            f" {len(CLASS_NAMES)}"
        )
