"""Names of files that say what a place holds: a dataset, or the state of a build that makes one."""

STATE = ".build"
PLAN = f"{STATE}/build.json"
SHARDS = f"{STATE}/shards"
DATASET = "dataset.json"
RECIPE = "recipe.json"
METADATA = "metadata.jsonl"
REJECTED = "rejected.jsonl"
