"""One source file, read into its top-level names: a hash of each name's code, and what that code looks up.

Files are read as they were when the process began, and never imported: what runs is what is hashed, also when
a file is edited while a run trains. Comments, docstrings, annotations, layout and print statements don't
count. Syntax trees are dropped as soon as a file is read: those of all files are a million objects, which
every garbage collection would walk through.
"""

import ast
import dis
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import NamedTuple

SRC = Path(__file__).resolve().parents[1]
ROOT = SRC.parent
TEXTS = {file: file.read_text(encoding="utf-8") for file in SRC.rglob("*.py")}  # as the process began
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

Place = tuple[Path, str]  # a top-level name of a file; "TABLE[key]" is an entry of a dict, "" the whole file
Chain = tuple[str, ...]  # ("nn", "Linear") of nn.Linear


class Definition(NamedTuple):
    """A top-level name: the hash of all statements that define or change it, and what they look up."""

    sha: str
    chains: list[Chain]
    imports: dict[str, Place]  # by import statements inside it


@dataclass(frozen=True)
class Source:
    """One file: its hash, and the definitions and imports at its top level."""

    path: Path
    sha: str
    definitions: dict[str, Definition]  # by name, and "TABLE[key]" of each entry of a dict
    imports: dict[str, Place]

    def places(self, definition: Definition) -> Iterator[Place]:
        """Where the names are defined that a definition looks up."""
        imports = self.imports | definition.imports
        for first, *rest in definition.chains:
            if first not in imports:
                yield self.path, first
                continue
            path, name = imports[first]
            yield follow_attributes(path, [name, *rest] if name else rest)


def text_of(path: Path) -> str:
    """A file of this fork as the process began; a competitor's own file outside of src as it is."""
    return TEXTS[path] if path in TEXTS else path.read_text(encoding="utf-8")


@functools.cache
def read(path: Path) -> Source:
    """The definitions of a file of this fork, or of a competitor's own file outside of src."""
    text = text_of(path)
    imports: list[ast.stmt] = []
    nodes: dict[str, list[ast.AST]] = {}
    for statement in Simplify().visit(ast.parse(text)).body:
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.If | ast.Try):
            imports.append(statement)
        for name in bound_names(statement):
            nodes.setdefault(name, []).append(statement)
            for key, value in dict_entries(statement):
                nodes.setdefault(f"{name}[{key}]", []).append(value)
    definitions = {name: define(path, parts) for name, parts in nodes.items()}
    return Source(path, short_hash(text), definitions, imported(path, imports))


class Simplify(ast.NodeTransformer):
    """Removes what can't change a result: docstrings, print statements and annotations."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        is_print = isinstance(node.value, ast.Call) and chain_of(node.value.func) == ("print",)
        return ast.copy_location(ast.Pass(), node) if is_text or is_print else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.copy_location(ast.Constant(None), node)
        return self.generic_visit(node)


def define(path: Path, nodes: list[ast.AST]) -> Definition:
    """The definition that these statements or expressions make together."""
    imports = imported(path, nodes)
    names = {*imports}.union(*map(global_names, nodes))
    looked_up = {chain for node in nodes for chain in chains(node) if chain[0] in names}
    return Definition(short_hash("\n".join(map(ast.unparse, nodes))), sorted(looked_up), imports)


def global_names(node: ast.AST) -> set[str]:
    """The names that a statement or expression looks up outside of itself, as Python compiles it."""
    if isinstance(node, ast.expr):
        waiting = [compile(ast.Expression(node), "source", "eval", dont_inherit=True)]
    else:
        waiting = [compile(ast.Module([node], []), "source", "exec", dont_inherit=True)]  # type: ignore[list-item]
    names = set()
    while waiting:
        code = waiting.pop()
        lookups = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
        names |= {step.argval for step in dis.get_instructions(code) if step.opname in lookups}
        waiting += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return names


def bound_names(statement: ast.stmt) -> set[str]:
    """What a top-level statement defines or changes: X = ..., X["a"] = ..., X.update(...), def X, class X."""
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, DEFINITIONS):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Subscript | ast.Attribute):
            names |= set() if isinstance(node.ctx, ast.Load) else {root_name(node)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            names |= {root_name(node.value.func)} if isinstance(node.value.func, ast.Attribute) else set()
    return names - {""}


def root_name(node: ast.AST) -> str:
    """X of X, X.a or X["a"]."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def dict_entries(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The keys and values of the dicts in a statement, and of TABLE["key"] = value."""
    if isinstance(statement, DEFINITIONS):
        return
    pairs: list[tuple[ast.expr | None, ast.expr]] = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Dict):
            pairs += zip(node.keys, node.values)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            pairs.append((node.targets[0].slice, node.value))
    for key, value in pairs:
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value, value


def chain_of(node: ast.AST) -> Chain:
    """("a", "b", "c") of a.b.c; () of anything else."""
    if isinstance(node, ast.Attribute):
        before = chain_of(node.value)
        return (*before, node.attr) if before else ()
    return (node.id,) if isinstance(node, ast.Name) else ()


def chains(node: ast.AST) -> Iterator[Chain]:
    """Every name in an expression or statement, with the attributes that follow it."""
    if chain := chain_of(node):
        yield chain
        return
    for child in ast.iter_child_nodes(node):
        yield from chains(child)


def imported(path: Path, nodes: Iterable[ast.AST]) -> dict[str, Place]:
    """Name -> where it is defined, for the imports of this fork's code in these statements of a file."""
    bound: dict[str, Place | None] = {}
    folders = [ROOT] if SRC in path.parents else [path.parent, ROOT]  # a competitor's own files lie together
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Import):
            for alias in node.names:  # `import a.b` binds a, `import a.b as c` binds a.b
                parts = alias.name.split(".") if alias.asname else [alias.name.split(".")[0]]
                bound[alias.asname or parts[0]] = find_member(folders, parts)
        elif isinstance(node, ast.ImportFrom):
            starts = [path.parents[node.level - 1]] if node.level else folders
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                bound[alias.asname or alias.name] = find_member(starts, parts, alias.name)
    return {name: place for name, place in bound.items() if place}


def find_member(folders: list[Path], parts: list[str], name: str = "") -> Place | None:
    """The module parts.name, or the name in the module of these parts; "" is the module itself."""
    for folder in folders:
        if name and (path := find_module(parts + [name], folder)):
            return path, ""
        if path := find_module(parts, folder):
            return path, name
    return None


def find_module(parts: list[str], folder: Path = ROOT) -> Path | None:
    """The file of a dotted module name below a folder."""
    place = folder.joinpath(*parts)
    candidates = (place.with_name(place.name + ".py"), place / "__init__.py")
    return next((path for path in candidates if path in TEXTS or path.is_file()), None)


def follow_attributes(path: Path, names: list[str]) -> Place:
    """Where module.name, or package.module.name, is defined; a bare module is meant whole."""
    while names and path.name == "__init__.py" and names[0] not in read(path).definitions:
        inner = find_module(names[:1], path.parent)
        if not inner:
            break
        path, names = inner, names[1:]
    return path, names[0] if names else ""


def short_hash(text: str) -> str:
    """16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
