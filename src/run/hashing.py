"""Which code of this fork something depends on: every function, class and constant that it can reach, each
with a hash.

Read from the source files as they were when the process began, without importing them: what runs is what is
hashed, also when a file is edited while a run trains. Comments, docstrings, layout and print statements don't
count.
"""

import ast
import functools
import hashlib
import symtable
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

SRC = Path(__file__).resolve().parents[1]
ROOT = SRC.parent
# as this process began
TEXTS = {file: file.read_text(encoding="utf-8") for file in sorted(SRC.rglob("*.py"))}

# Tables of which a run uses one entry: code names that entry, and the table itself is not followed.
CHOICES = {
    *(
        "LOSSES",
        "HEADS",
        "SAMPLERS",
        "AUGMENTS",
        "VIEWS",
        "VIEW_SETS",
        "BACKBONES",
        "SCHEMES",
        "METRICS",
        "TASKS",
    ),
    *("ANSWERS", "DECODERS", "COMPETITIONS", "EXAMPLES", "EXPERIMENTS"),
}
# Settings, files and logs: what they do to a prediction stands in the settings or in the folds.
PLUMBING = {
    *("src/config.py", "src/data/cache.py"),
    *(
        f"src/run/{name}.py"
        for name in ("archives", "clock", "configure", "errors", "files", "hashing", "locks")
    ),
    *(
        f"src/run/{name}.py"
        for name in ("memory", "overrides", "paths", "process", "provenance", "reuse", "tracking")
    ),
}

Units = dict[str, dict[str, str]]  # file -> name -> hash; the name "" stands for the whole file


class Plain(ast.NodeTransformer):
    """Takes out what can't change a result: docstrings, print statements and annotations."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        is_print = isinstance(node.value, ast.Call) and chain_of(node.value.func) == ("print",)
        return ast.copy_location(ast.Pass(), node) if is_text or is_print else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.copy_location(ast.Constant(None), node)
        return self.generic_visit(node)


class Source:
    """One file, parsed on first use: what it defines at its top level, and what it imports."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()

    @cached_property
    def sha(self) -> str:
        return short(self.text)

    @cached_property
    def tree(self) -> ast.Module:
        return Plain().visit(ast.parse(self.text))

    @cached_property
    def statements(self) -> dict[str, list[ast.stmt]]:
        """Name -> the top-level statements that define or change it."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                for name in sorted(bound_names(statement)):
                    found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[Path, str]]:
        return dict(self.imported_by(self.tree.body))

    @cached_property
    def scopes(self) -> dict[tuple[str, int], symtable.SymbolTable]:
        table = symtable.symtable(self.text, str(self.path), "exec")
        return {(child.get_name(), child.get_lineno()): child for child in table.get_children()}

    def imported_by(self, statements: list[ast.stmt]) -> Iterator[tuple[str, tuple[Path, str]]]:
        """(the name here, (the file, the name there or "" for the module)) of each import of this fork's
        code.
        """
        for node in (node for statement in statements for node in ast.walk(statement)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if path := find_module(alias.name.split(".")) or self.beside(alias.name):
                        yield alias.asname or alias.name, (path, "")
            if isinstance(node, ast.ImportFrom):
                above = list(self.path.parts[: -node.level]) if node.level else None
                for alias in node.names:
                    beside = self.beside(node.module or "")
                    place = (
                        (beside, alias.name)
                        if beside
                        else find_imported((node.module or "").split("."), alias.name, above)
                    )
                    if place:
                        yield alias.asname or alias.name, place

    def beside(self, name: str) -> Path | None:
        """The file of a module that a file outside of src, such as a competition.py, imports from its own
        folder.
        """
        path = self.path.with_name(f"{name}.py")
        return path if SRC not in self.path.parents and name.isidentifier() and path.is_file() else None

    def globals_of(self, statement: ast.stmt) -> set[str]:
        """The names that a statement looks up outside of itself."""
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        scope = self.scopes.get((statement.name, first_line(statement))) or self.scopes.get(
            (statement.name, statement.lineno)
        )
        outside: list[ast.AST] = [*statement.decorator_list]
        if isinstance(statement, ast.ClassDef):
            outside += [*statement.bases, *statement.keywords]
        else:
            outside += [*statement.args.defaults, *(value for value in statement.args.kw_defaults if value)]
        names = {node.id for part in outside for node in ast.walk(part) if isinstance(node, ast.Name)}
        return (
            names | set(global_names(scope))
            if scope
            else names | {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
        )


def first_line(statement: ast.stmt) -> int:
    """Where a definition begins for symtable: at its first decorator."""
    decorators = getattr(statement, "decorator_list", [])
    return decorators[0].lineno if decorators else statement.lineno


def global_names(scope: symtable.SymbolTable) -> Iterator[str]:
    yield from (
        symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global() and symbol.is_referenced()
    )
    for child in scope.get_children():
        yield from global_names(child)


def bound_names(statement: ast.stmt) -> set[str]:
    """What a top-level statement defines or changes: X = ..., X["a"] = ..., X.update(...), def X, class X."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            names |= {root_name(node)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
        ):
            names.add(root_name(node.value.func))
    return names - {""}


def root_name(node: ast.AST) -> str:
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def source(path: Path) -> Source:
    text = TEXTS.get(path)
    return Source(path, path.read_text(encoding="utf-8") if text is None else text)


def find_module(parts: list[str], folder: Path = ROOT) -> Path | None:
    """The file of a dotted module name of this fork."""
    place = folder.joinpath(*parts)
    candidates = (place.with_name(place.name + ".py"), place / "__init__.py")
    return next((path for path in candidates if path in TEXTS), None)


def find_imported(module: list[str], name: str, above: list[str] | None) -> tuple[Path, str] | None:
    """Where `from module import name` finds it: a module of its own, or a name within one."""
    folder, parts = (Path(*above), [part for part in module if part]) if above is not None else (ROOT, module)
    if path := find_module([*parts, name], folder):
        return path, ""
    inside = find_module(parts, folder) if parts else find_module([folder.name], folder.parent)
    return (inside, name) if inside else None


Place = tuple[Path, str]  # a name at the top level of a file; "" is the whole file


@functools.cache
def unit(path: Path, name: str) -> tuple[str, list[Place]]:
    """The hash of a top-level name's source, "" where the file does not define it, and the places that it
    looks up.
    """
    file = source(path)
    if not name:  # a module that is handed on: anything in it may be used
        return file.sha, [(path, each) for each in file.statements]
    if name in file.statements:
        statements = file.statements[name]
        text = "\n".join(ast.unparse(statement) for statement in statements)
        return short(text), [
            place for each in statements for place in looked_up(file, each, file.globals_of(each))
        ]
    if name in file.imports:
        return "", [file.imports[name]]
    return "", [(file.imports["*"][0], name)] if "*" in file.imports else []


@functools.cache
def choice(path: Path, table: str, key: str) -> tuple[str, list[Place]]:
    """The same of one entry of a table of choices; of all of it where the entry can't be told from the
    source.
    """
    file = source(path)
    entries = [value for statement in file.statements.get(table, []) for value in entries_of(statement, key)]
    nodes = entries or file.statements.get(table, [])
    names = [{node.id for node in ast.walk(value) if isinstance(node, ast.Name)} for value in nodes]
    text = "\n".join(ast.unparse(node) for node in nodes)
    return short(text), [place for node, known in zip(nodes, names) for place in looked_up(file, node, known)]


def looked_up(file: Source, node: ast.AST, names: set[str]) -> list[Place]:
    """Where the names are defined that a statement or expression of the file uses."""
    inner_imports = dict(file.imported_by([node]) if isinstance(node, ast.stmt) else {})
    imports = file.imports | inner_imports
    places = []
    for first, *rest in sorted(
        {chain for chain in chains(node) if chain[0] in names or chain[0] in inner_imports}
    ):
        if first in imports:
            path, inner = imports[first]
            places.append(follow_chain(path, [inner, *rest] if inner else rest))
        else:
            places.append((file.path, first))
    return places


def follow_chain(path: Path, rest: list[str]) -> Place:
    """Where module.name, or package.module.name, is defined; a bare module is meant whole."""
    while rest and path.name == "__init__.py" and rest[0] not in source(path).statements:
        inner = find_module([rest[0]], path.parent)
        if not inner:
            break
        path, rest = inner, rest[1:]
    return path, rest[0] if rest else ""


class Reached:
    """Collects what is reached in `units`."""

    def __init__(self) -> None:
        self.units: Units = {}
        self.seen: set[Place] = set()

    def add(self, file: Source, name: str, sha: str) -> None:
        self.units.setdefault(file.name, {"": file.sha})[name] = sha

    def follow(self, *places: Place) -> None:
        """These, and all that they look up. The settings' and files' own code, and the tables of choices, are
        not followed.
        """
        waiting = list(places)
        while waiting:
            path, name = place = waiting.pop()
            file = source(path)
            if place in self.seen or file.name in PLUMBING or name in CHOICES:
                continue
            self.seen.add(place)
            sha, further = unit(path, name)
            if sha:
                self.add(file, name, sha)
            waiting += further

    def choose(self, path: Path, table: str, key: str) -> None:
        sha, further = choice(path, table, key)
        self.add(source(path), f"{table}[{key}]", sha)
        self.follow(*further)

    def follow_object(self, thing: Any) -> None:
        """A function, class, partial or callable object that this process has; its parameters count by their
        repr.
        """
        if isinstance(thing, functools.partial):
            for part in (thing.func, *thing.args, *thing.keywords.values()):
                self.follow_object(part)
            self.units.setdefault("(values)", {})[f"partial of {name_of(thing)}"] = short(
                repr(simple([thing.args, thing.keywords]))
            )
            return
        if hasattr(thing, "__func__"):  # a bound method
            self.follow_object(thing.__self__)
            thing = thing.__func__
        if not callable(thing):
            return
        if not hasattr(thing, "__qualname__"):  # an object with __call__
            self.units.setdefault("(values)", {})[name_of(thing)] = short(
                repr(simple(vars(thing))) if hasattr(thing, "__dict__") else ""
            )
            thing = type(thing)
        path = file_of(thing)
        if path is None:
            self.units.setdefault("(values)", {})[f"{thing.__module__}.{thing.__qualname__}"] = ""
            return
        self.follow((path, thing.__qualname__.split(".")[0]))
        for cell in getattr(thing, "__closure__", None) or ():
            if callable(cell.cell_contents):
                self.follow_object(cell.cell_contents)
            else:
                self.units.setdefault("(values)", {})[thing.__qualname__] = short(
                    repr(simple(cell.cell_contents))
                )


def entries_of(statement: ast.stmt, key: str) -> list[ast.expr]:
    """The expressions that a table's statement holds under this key."""
    found = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Dict):
            found += [
                value
                for name, value in zip(node.keys, node.values)
                if isinstance(name, ast.Constant) and name.value == key
            ]
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            index = node.targets[0].slice
            found += [node.value] if isinstance(index, ast.Constant) and index.value == key else []
    return found


def chain_of(node: ast.AST) -> tuple[str, ...]:
    """("a", "b", "c") of a.b.c; () of anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return (node.id, *parts) if isinstance(node, ast.Name) else ()


def chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Every name in an expression or statement, with the attributes that follow it."""
    if chain := chain_of(node):
        yield chain
        return
    for child in ast.iter_child_nodes(node):
        yield from chains(child)


def file_of(thing: Any) -> Path | None:
    """The file of this fork, or of the competitor's own, that defines a function or class; None for a
    package's.
    """
    code = getattr(thing, "__code__", None)
    name = code.co_filename if code else getattr(sys.modules.get(thing.__module__), "__file__", None)
    path = Path(name).resolve() if name else None
    if path is None or not path.is_file():
        return None
    is_package = "site-packages" in path.parts or path.is_relative_to(Path(ast.__file__).resolve().parent)
    return None if is_package else path


def name_of(thing: Any) -> str:
    """How a function, partial or callable object is called in messages and files."""
    if isinstance(thing, functools.partial):
        return name_of(thing.func)
    return getattr(thing, "__name__", type(thing).__name__)


def simple(value: Any) -> Any:
    """A value without what differs between two processes: addresses in a repr."""
    if isinstance(value, dict):
        return {str(key): simple(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [simple(inner) for inner in value]
    return name_of(value) if callable(value) or " at 0x" in repr(value) else value


def reach(*things: str | Callable) -> Units:
    """What these reach. A string is "src.train_fold:train_fold" or, of a table, "src.training.losses:LOSSES[focal]"."""
    reached = Reached()
    for thing in things:
        if not isinstance(thing, str):
            reached.follow_object(thing)
            continue
        module, _, name = thing.partition(":")
        path = find_module(module.split("."))
        assert path, f"{module} is no module of this fork"
        table, _, key = name.partition("[")
        if key:
            reached.choose(path, table, key.removesuffix("]"))
        else:
            reached.follow((path, name))
    # syntax trees of all files are a million objects, which each garbage collection would walk through
    source.cache_clear()
    return {file: dict(sorted(names.items())) for file, names in sorted(reached.units.items())}


def has_choice(module: str, table: str, key: str) -> bool:
    """Does a table of choices have this entry, as far as its source tells?"""
    path = find_module(module.split("."))
    return bool(path) and any(
        entries_of(statement, key) for statement in source(path).statements.get(table, [])
    )


def hash_of(*things: str | Callable) -> str:
    """One hash of what these reach, whole files left out: an edit elsewhere in a file doesn't count."""
    return short(repr(own(reach(*things))))


def own(units: Units) -> dict[str, dict[str, str]]:
    return {file: {name: sha for name, sha in names.items() if name} for file, names in units.items()}


def changes(then: Units, now: Units) -> list[str]:
    """ "src/training/losses.py: focal" of each unit that is another now, or is gone, or is new."""
    before, after = own(then), own(now)
    names = {(file, name) for units in (before, after) for file, inner in units.items() for name in inner}
    return [
        f"{file}: {name}"
        for file, name in sorted(names)
        if before.get(file, {}).get(name) != after.get(file, {}).get(name)
    ]


def edited(units: dict[str, Any]) -> list[str]:
    """ "src/training/losses.py: focal" of each recorded unit that was edited or removed since."""
    found = []
    for name, names in sorted(units.items()):
        path = ROOT / name
        if name == "(values)":
            continue
        if path not in TEXTS and not path.is_file():
            found.append(f"{name} (removed)")
            continue
        file = source(path)
        if not isinstance(names, dict):  # written by a version that hashed whole files
            found += [name] if names != file.sha else []
        elif names.get("") != file.sha:
            found += [
                f"{name}: {each}" for each, sha in names.items() if each and unit_sha(file, each) != sha
            ]
    return found


def unit_sha(file: Source, name: str) -> str:
    table, _, key = name.partition("[")
    return choice(file.path, table, key.removesuffix("]"))[0] if key else unit(file.path, name)[0]
