"""The card of a model that came into the store: what it is, where it is from, what its licence means."""

from collections.abc import Mapping
from typing import Any

from faceloom.store.licences import consequence
from faceloom.store.model import MEASURED_SIDE, Limits, Model


def write_card(model: Model) -> None:
    """Write `README.md` into the folder of a model, which has its limits and notes."""
    rows = [
        *(row for source in model.sources for row in _origin(source)),
        ("sha256 of the weights", f"`{model.weights.sha256}`"),
        ("licence", licence_line(model.license)),
        *(_measured(model.service, model.limits) if model.limits else ()),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    network = "\n".join(f"- {name}: `{value}`" for name, value in model.network.items())
    known = "\n".join(f"- {note}" for note in model.notes)
    (model.folder / "README.md").write_text(
        f"# {model.service} / {model.name}\n\n| | |\n|---|---|\n{table}\n"
        + (f"\n## Network\n{network}\n" if network else "")
        + (f"\n## Good to know\n{known}\n" if known else "")
    )


def licence_line(licence: str) -> str:
    """A licence, and what it restricts as far as that is known."""
    restriction = consequence(licence)
    return f"{licence} ({restriction})" if restriction else licence


def _origin(source: Mapping[str, Any]) -> list[tuple[str, str]]:
    # A model that was joined names the parts that its sources belong to.
    part = f", for `{source['model']}`" if "model" in source else ""
    if "format" in source:
        return [
            ("imported from", f"`{source['file']}`, format `{source['format']}`{part}"),
            ("sha256 of that file", f"`{source['sha256']}`"),
        ]
    name = source.get("name", source.get("package", source.get("model")))
    return [("made from", f"{name}: {source.get('use')}{part}")]


def _measured(service: str, limits: Limits) -> list[tuple[str, str]]:
    item = (
        "a face"
        if service in ("generator", "translator")
        else f"{MEASURED_SIDE}x{MEASURED_SIDE} pixels"
    )
    return [
        (
            "time of one CPU core",
            f"{limits.seconds_per_item:.3g} s an item ({item}), measured here",
        ),
        ("items in a call", f"at most {limits.max_items}"),
    ]
