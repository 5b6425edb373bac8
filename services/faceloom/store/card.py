"""The card of an imported model: what it is, where it is from, what its licence means."""

from collections.abc import Sequence

from faceloom.store.licences import consequence
from faceloom.store.model import Model


def write_card(model: Model, notes: Sequence[str]) -> None:
    """Write `README.md` into the model's folder.

    Args:
        model: With its limits.
        notes: What was found in the file; a sentence each.
    """
    (source,) = model.sources
    restriction = consequence(model.license)
    licence = f"{model.license} ({restriction})" if restriction else model.license
    rows = [
        ("imported from", f"`{source['file']}`, format `{source['format']}`"),
        ("sha256 of that file", f"`{source['sha256']}`"),
        ("sha256 of the weights", f"`{model.weights.sha256}`"),
        ("licence", licence),
    ]
    if model.limits is not None:
        rows += [
            (
                "measured on import",
                f"{model.limits.seconds_per_item:.3g} s an item, CPU, one thread",
            ),
            ("items in a call", f"at most {model.limits.max_items}"),
        ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    network = "\n".join(f"- {name}: `{value}`" for name, value in model.network.items())
    found = "".join(f"\n- {note}" for note in notes)
    (model.folder / "README.md").write_text(
        f"# {model.service} / {model.name}\n\n| | |\n|---|---|\n{table}\n\n"
        f"## Network\n{network}\n" + (f"\n## Found in the file{found}\n" if found else "")
    )
