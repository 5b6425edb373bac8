"""Packages the models of a profile as TorchServe archives."""

from pathlib import Path

from faceloom.runtime.archive import write_archive
from faceloom.store.model import open_model
from faceloom.store.profile import model_folder, profile_services


def package_profile(profile: str, target: Path) -> list[Path]:
    """One archive per service that the profile has a model for, in `target`.

    Raises:
        UsageError: The store has no such profile.
        BrokenModel: A model of the profile is damaged.
    """
    archives = []
    for name, service in profile_services(profile).items():
        folder = model_folder(profile, name)
        open_model(folder)
        archives.append(write_archive(service, folder, target))
    return archives
