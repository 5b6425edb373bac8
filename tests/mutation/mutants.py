"""Small changes of a program, as a tired programmer makes them: each is one that some test should notice."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What changes nothing that a program answers.
_SILENT = ("log.", "logging.", "warnings.")

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """One change.

    Args:
        file: Relative to the package.
        line: Where, and the last line of what is replaced.
        last: See `line`.
        begin: The first byte of what is replaced, and the one after the last.
        end: See `begin`.
        was: The code, on one line.
        now: What stands in its place.
    """

    file: str
    line: int
    last: int
    begin: int
    end: int
    was: str
    now: str

    def apply(self, source: bytes) -> bytes:
        """The changed program."""
        return source[: self.begin] + self.now.encode() + source[self.end :]

    @property
    def change(self) -> str:
        """How people read it."""
        return f"`{self.was}` becomes `{self.now}`".replace("|", r"\|")


def mutants_of(package: Path, file: str) -> list[Mutant]:
    """All changes of one module."""
    source = (package / file).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, replacement in _changes(ast.parse(source)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        was, now = ast.unparse(node), replacement
        found.append(Mutant(file, node.lineno, node.end_lineno or 0, begin, end, was, now))
    return found


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Nodes, and the code to put in their place."""
    if isinstance(node, ast.expr):
        for changed in _other_expressions(node):
            yield node, f"({ast.unparse(changed)})"
    if isinstance(node, ast.stmt) and _can_go(node):
        yield node, "pass"
    for name, value in ast.iter_fields(node):
        # Types are for mypy.
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _says_nothing(child):
                yield from _changes(child)


def _other_expressions(node: ast.expr) -> Iterator[ast.expr]:
    changed = copy.deepcopy(node)
    match changed:
        case ast.Compare(ops=[operator]) if type(operator) in _OPERATORS:
            changed.ops = [_other(operator)]  # type: ignore[list-item]
        case ast.BoolOp(op=operator):
            changed.op = _other(operator)  # type: ignore[assignment]
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS and not _is_type(changed):
            changed.op = _other(operator)  # type: ignore[assignment]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            changed = operand
        case ast.Constant(value=bool(value)):
            changed.value = not value
        case ast.Constant(value=int() | float() as number):
            changed.value = number + 1
        case _:
            return
    yield changed


def _other(operator: ast.AST) -> ast.AST:
    return _OPERATORS[type(operator)]()


def _is_type(node: ast.BinOp) -> bool:
    return isinstance(node.left, ast.JoinedStr) or isinstance(node.right, ast.JoinedStr)


def _can_go(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()):
            return True
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            return True
    return False


def _says_nothing(node: ast.AST) -> bool:
    """Texts for people who read logs, and for who reads the code."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=called)):
            return ast.unparse(called).startswith(_SILENT)
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False
