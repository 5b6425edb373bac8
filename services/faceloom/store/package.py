"""Packages the models of a profile as TorchServe archives."""

from pathlib import Path

from faceloom.runtime.archive import write_archive
from faceloom.runtime.service import services
from faceloom.store.model import open_model
from faceloom.store.profile import model_folder


def package_profile(profile: str, target: Path) -> list[Path]:
    """One archive per model service, in `target`.

    Raises:
        BrokenModel: A model of the profile is missing or damaged.
    """
    archives = []
    for name, service in services().items():
        folder = model_folder(profile, name)
        open_model(folder)
        archives.append(write_archive(service, folder, target))
    return archives
