"""Label files: what people said of faces, as JSON lines of `id` (as in metadata.jsonl or rejected.jsonl) and
`label` (keep | reject). Other fields are left alone. `faceloom label export` writes them."""

import json
from pathlib import Path

from faceloom.core.errors import UsageError
from faceloom.core.wording import unreadable


def read_labels(labels: Path) -> dict[str, str]:
    """`keep` or `reject`, by the id of the face, in the order of the file.

    Raises:
        UsageError: It cannot be read, or says two things of a face; names the line.
    """
    wanted: dict[str, str] = {}
    try:
        lines = labels.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{labels} cannot be read: {unreadable(error)}") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            identity, label = str(row["id"]), row["label"]
        except (ValueError, KeyError, TypeError):
            raise UsageError(f'{labels}:{number}: give {{"id": ..., "label": ...}}') from None
        if label not in ("keep", "reject"):
            raise UsageError(f"{labels}:{number}: the label is {label!r}; give keep or reject")
        if wanted.setdefault(identity, label) != label:
            raise UsageError(f"{labels}:{number}: {identity} was labelled differently before")
    return wanted
