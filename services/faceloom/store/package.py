"""Packages the models of a profile as TorchServe archives."""

from pathlib import Path

from faceloom.runtime.archive import write_archive
from faceloom.store.model import open_model
from faceloom.store.profile import model_folders, profile_services, read_profile
from faceloom.store.servable import check_servable


def package_profile(profile: str, target: Path) -> list[Path]:
    """One archive per service that the profile has models for, in `target`.

    Raises:
        UsageError: The store has no such profile or not all of its models, or one may not be served.
        BrokenModel: A model of the profile is damaged.
    """
    permission = read_profile(profile).permission
    archives = []
    for name, service in profile_services(profile).items():
        folders = model_folders(profile, name)
        for folder in folders:
            check_servable(open_model(folder), name, permission)
        archives.append(write_archive(service, folders, target))
    return archives
