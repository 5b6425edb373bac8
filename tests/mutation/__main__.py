"""`python -m tests.mutation [SEED]`: changes the code in 100 places of the seed's choosing, one at a time.

For each, the tests that run the changed line are run; a mutant that none of them notices survives. Chosen
from are the lines that the tests run at all. Prints a table, writes out/mutate.json, and fails if fewer than
85 % are noticed. survivors.md says of survivors why they may be; that is no excuse, they count all the same.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.trial import PACKAGE, ROOT, Checkout

COUNT = 100
LEAST = 0.85
PARTS = ("core", "runtime", "datasets", "builds")
TESTS = ("tests/unit", "tests/builds", "tests/contract")
# Of the tests that run a line, the quickest that take so many seconds together.
SECONDS = 10.0
OUT = ROOT / "out" / "mutate.json"
SURVIVORS = Path(__file__).with_name("survivors.md")


@dataclass(frozen=True)
class Coverage:
    """Which tests run what.

    Args:
        seconds: By test.
        tests: By module and line. Lines that run on import have none.
    """

    seconds: Mapping[str, float]
    tests: Mapping[str, Mapping[str, Sequence[str]]]

    def of(self, mutant: Mutant) -> list[str]:
        """The quickest tests that run it, or its module where it runs on import."""
        lines = self.tests.get(mutant.file, {})
        spanned = [lines.get(str(line)) for line in range(mutant.line, mutant.last + 1)]
        if all(tests is None for tests in spanned):
            return []
        found = {test for tests in spanned for test in tests or ()}
        found = found or {test for tests in lines.values() for test in tests}
        chosen: list[str] = []
        left = SECONDS
        for test in sorted(found, key=lambda test: (self.seconds[test], test)):
            left -= self.seconds[test]
            if chosen and left < 0:
                break
            chosen.append(test)
        return chosen


def measure(checkout: Checkout, target: Path) -> Coverage:
    """Runs all tests once, where mutants will be tried: what fails there anyhow is no judge of them."""
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutation.coverage_by_test", *TESTS],
        cwd=checkout.tree,
        env=checkout.environment | {"COVERAGE_BY_TEST": str(target)},
        check=False,
    )
    return Coverage(**json.loads(target.read_text()))


def choose(coverage: Coverage, seed: int) -> list[Mutant]:
    """Places that tests run, spread evenly over all that could be changed."""
    package = ROOT / PACKAGE
    files = [path for part in PARTS for path in sorted((package / part).rglob("*.py"))]
    names = [path.relative_to(package).as_posix() for path in files if "_pb2" not in path.name]
    possible = [mutant for name in names for mutant in mutants_of(package, name)]
    run = [mutant for mutant in possible if coverage.of(mutant)]
    print(f"{len(run):,} of {len(possible):,} possible changes are on lines that tests run")
    chosen = random.Random(seed).sample(run, min(COUNT, len(run)))
    return sorted(chosen, key=lambda mutant: (mutant.file, mutant.line))


def survivors(
    chosen: Sequence[Mutant], coverage: Coverage, checkouts: Sequence[Checkout]
) -> list[Mutant]:
    """Those that no test notices."""
    free: SimpleQueue[Checkout] = SimpleQueue()
    for one in checkouts:
        free.put(one)

    def noticed(mutant: Mutant) -> bool:
        tests = coverage.of(mutant)
        known = sum(coverage.seconds[test] for test in tests)
        checkout = free.get()
        try:
            return checkout.notices(mutant, tests, 120 + 10 * known)
        finally:
            free.put(checkout)

    with ThreadPoolExecutor(len(checkouts)) as pool:
        alive = []
        for mutant, killed in zip(chosen, pool.map(noticed, chosen), strict=True):
            print(
                f"{'killed  ' if killed else 'SURVIVES'} {mutant.file}:{mutant.line} {mutant.change}"
            )
            sys.stdout.flush()
            if not killed:
                alive.append(mutant)
    return alive


def known_reasons() -> dict[tuple[str, str], str]:
    """Why survivors may be, by module and change."""
    rows = [line.split(" | ") for line in SURVIVORS.read_text().splitlines() if " becomes " in line]
    return {(file.strip("| `"), change): reason.rstrip("| ") for file, change, reason in rows}


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    OUT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        workers = min(4, os.cpu_count() or 1)
        checkouts = [Checkout(Path(folder, str(number))) for number in range(workers)]
        coverage = measure(checkouts[0], Path(folder) / "coverage.json")
        chosen = choose(coverage, seed)
        alive = survivors(chosen, coverage, checkouts)
    reasons = known_reasons()
    told: list[dict[str, Any]] = [
        asdict(mutant) | {"why": reasons.get((mutant.file, mutant.change), "")} for mutant in alive
    ]
    share = 1 - len(alive) / len(chosen)
    result = {"seed": seed, "mutants": len(chosen), "killed": share, "survivors": told}
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nseed {seed}: {share:.0%} of {len(chosen)} are noticed; {len(alive)} survive")
    for mutant, row in zip(alive, told, strict=True):
        print(f"| `{mutant.file}` | {mutant.change} | {row['why'] or 'NO REASON GIVEN'} |")
    if share < LEAST:
        sys.exit(f"fewer than {LEAST:.0%}")


if __name__ == "__main__":
    main()
