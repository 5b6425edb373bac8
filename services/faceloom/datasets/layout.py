"""Names of files that say what a place holds: a dataset, or the state of a build that makes one."""

STATE = ".build"
PLAN = f"{STATE}/build.json"
SHARDS = f"{STATE}/shards"
SPENT = f"{STATE}/spent"
# The scores of all candidates, where the best of them are chosen.
POOL = f"{STATE}/pool"
DATASET = "dataset.json"
RECIPE = "recipe.json"
METADATA = "metadata.jsonl"
REJECTED = "rejected.jsonl"
FAILED = "failed.jsonl"
LABELS = "labels.json"
PROVENANCE = "provenance.json"
README = "README.md"
LATENTS = "latents.safetensors"
SUMS = "SHA256SUMS"
# All of a dataset but its pictures and dataset.json.
FILES = (METADATA, REJECTED, FAILED, LABELS, PROVENANCE, RECIPE, README, LATENTS, SUMS)


def growth(number: int) -> str:
    """Where the plan is recorded by which a build grows for the n-th time."""
    return f"{STATE}/build-{number}.json"
