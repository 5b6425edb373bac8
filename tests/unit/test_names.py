"""One name, one meaning: what a class or a type is called says which it is."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "services" / "faceloom"
# Generated: messages are named in the protos.
STUBS = ("*_pb2.py", "*_pb2_grpc.py")

# Names that two modules may define, and why.
SHARED = {
    "SqueezeExcite": "one gate (Hu et al. 2018), whose parameters MixNet and IR-SE50 call differently",
}


def defined(tree: ast.Module) -> Iterator[str]:
    """The public classes and type aliases at the top of a module. Type variables are none."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            name, is_alias = node.name, True
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, is_alias = node.targets[0].id, not isinstance(node.value, ast.Call)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, is_alias = node.target.id, ast.unparse(node.annotation) == "TypeAlias"
        else:
            continue
        # Constants are all capitals, and variables none.
        if is_alias and name[0].isupper() and not name.isupper():
            yield name


def modules_by_name() -> dict[str, list[str]]:
    modules = defaultdict(list)
    for file in sorted(SOURCES.rglob("*.py")):
        if any(file.match(stub) for stub in STUBS):
            continue
        for name in defined(ast.parse(file.read_text())):
            modules[name].append(file.relative_to(SOURCES).as_posix())
    return modules


def test_no_two_modules_define_one_name() -> None:
    twice = {name: files for name, files in modules_by_name().items() if len(files) > 1}

    assert {name: files for name, files in twice.items() if name not in SHARED} == {}
    assert twice.keys() == SHARED.keys(), "a reason that nothing needs any more"


def test_what_counts_as_a_name() -> None:
    source = """
class Kept(Base): ...
Alias = Annotated[int, 3]
Other: TypeAlias = "Sequence[int]"
Variable = TypeVar("Variable")
SIZE: Final = 3
LEVEL = 4
T = int
logger = 5
def f():
    class Inner: ...
class _Private: ...
"""
    assert [*defined(ast.parse(source))] == ["Kept", "Alias", "Other"]


def test_options_of_commands_are_called_so() -> None:
    for file in sorted((SOURCES / "cli").rglob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Annotated["):
                name = ast.unparse(node.targets[0])
                assert name.endswith(("Option", "Argument")), f"{file.name}: {name}"
