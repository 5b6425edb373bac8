"""What every importer of a published checkpoint gives back, and how strictly it is held to the network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from faceloom.checkpoints.untrusted import RefusedFile
from faceloom.store.model import UPSTREAM

# The orders that the classes of layouts are numbered in.
CELEBAMASK_HQ: Final = "celebamask_hq"
BISENET: Final = "bisenet"

# Whose encoders into a StyleGAN2 have the same tensors.
PSP: Final = "psp"
E4E: Final = "e4e"

# So many names are enough to see what kind of file it is.
_NAMED = 3


@dataclass(frozen=True)
class Answers:
    """What a person says about a checkpoint that the file itself does not say.

    Args:
        classes: Names of a classifier's outputs, in their order.
        keep: The one of them that stands for the wanted pictures.
        threshold: The score from which on a picture is wanted.
        decoder: Model folder of the generator, for encoders that come without theirs.
        label_order: In which the classes of layouts are numbered: CELEBAMASK_HQ or BISENET.
        encoder: Whose an encoder of faces is: PSP or E4E.
        bn_eps: What a classifier's batch norms add to variances.
        preprocessing: How pictures are brought to the network: UPSTREAM, which is the default, or FACELOOM.
        resize_factor: By how much a super-resolution encoder's faces are made smaller before it sees them.
    """

    classes: tuple[str, ...] | None = None
    keep: str | None = None
    threshold: float | None = None
    decoder: Path | None = None
    label_order: str | None = None
    encoder: str | None = None
    bn_eps: float | None = None
    preprocessing: str | None = None
    resize_factor: int | None = None

    @property
    def way(self) -> str:
        """UPSTREAM or FACELOOM."""
        return self.preprocessing or UPSTREAM


@dataclass(frozen=True)
class Imported:
    """A checkpoint in our own terms.

    Args:
        network: Arguments of the service's network.
        options: What the service's handler needs to know.
        weights: Every tensor of the network, by our names, in the file's precision.
        licence: What the format implies; nothing where anybody may have made the file.
        notes: What was found and what follows from it, for the card; a sentence each.
    """

    network: Mapping[str, Any]
    options: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    licence: str | None = None
    notes: tuple[str, ...] = ()


def check_state(
    network: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    names: Mapping[str, str] | None = None,
) -> None:
    """Make sure that a state has exactly the network's tensors, and that they hold numbers.

    Args:
        network: Whose tensors are wanted; they may be on the meta device.
        state: What was found, by the network's names.
        path: The file, for messages.
        names: What the file calls a tensor of the network, where that is not its name.

    Raises:
        RefusedFile: Tensors are missing, left over, of another shape or not finite; it names them.
    """
    wanted = network.state_dict()
    missing = wanted.keys() - state.keys()
    extra = state.keys() - wanted.keys()
    shown = {name: (names or {}).get(name, name) for name in wanted.keys() | state.keys()}
    misshapen = [
        f"{shown[name]} is {list(state[name].shape)}, not {list(wanted[name].shape)}"
        for name in wanted.keys() & state.keys()
        if state[name].shape != wanted[name].shape
    ]
    faults = [
        *([f"no {_few(map(shown.__getitem__, missing))}"] if missing else []),
        *([f"{_few(map(shown.__getitem__, extra))} left over"] if extra else []),
        *([_few(misshapen)] if misshapen else []),
    ]
    if faults:
        raise RefusedFile(f"{path}: {'; '.join(faults)}")
    for name, tensor in state.items():
        check_finite(path, shown[name], tensor)


def check_finite(path: Path, name: str, tensor: Tensor) -> None:
    """Make sure that a tensor holds numbers only, in the precision that models are stored in.

    Raises:
        RefusedFile: It holds NaN or infinity, or numbers that float32 has no room for.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return
    # NaN comes out as both; to ask each number would take as much memory again.
    lowest, highest = tensor.float().aminmax()
    if not (lowest.isfinite() and highest.isfinite()):
        raise RefusedFile(f"{path}: {name} holds NaN, infinity or numbers beyond float32")


def _few(names: Iterable[str]) -> str:
    first, *rest = sorted(names)
    shown = [first, *rest[: _NAMED - 1]]
    more = len(rest) + 1 - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
