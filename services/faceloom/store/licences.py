"""What the licences of published weights allow, as far as it decides how Faceloom treats them.

A licence is free text, as its owner calls it. Nothing here is legal advice; what is not known is not judged.
"""

from typing import Final

WASEDA: Final = "Waseda University research licence"

# Owners who keep it to themselves who may use their models through a service.
_ASK_TO_SERVE: Final = ("waseda",)
# A part of the name, in lower case, and what it means for whoever uses the model.
_CONSEQUENCES: Final = (
    ("waseda", "research only: not for others to use through a service, not to be passed on"),
    (
        "nvidia source code",
        "non-commercial: research and evaluation only, also for what is derived",
    ),
    ("non-commercial", "non-commercial"),
    ("noncommercial", "non-commercial"),
    ("-nc", "non-commercial"),
    (" nc", "non-commercial"),
    ("research only", "research only"),
)


def consequence(licence: str) -> str | None:
    """What a licence restricts, in a few words; nothing if none of the known restrictions is in its name."""
    name = licence.lower()
    return next((meaning for part, meaning in _CONSEQUENCES if part in name), None)


def needs_permission(licence: str) -> bool:
    """Whether the owner has to allow it before others may use the model through a service."""
    return any(owner in licence.lower() for owner in _ASK_TO_SERVE)
