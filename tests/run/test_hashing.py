"""What code a thing depends on, in a small fork of its own: planted edits are seen, and others are not."""

import functools
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from src.run import hashing

ROOT = Path(__file__).parents[2]
FORK = {
    "src/__init__.py": "",
    "src/losses.py": """
SCALE = 2.0


def plain(x):
    \"\"\"A docstring.\"\"\"
    return x


def focal(x, gamma=2.0):
    return SCALE * plain(x) ** gamma


LOSSES = {"plain": plain, "focal": focal}
""",
    "src/nets/__init__.py": "",
    "src/nets/mine.py": """
from src import helpers
from src.losses import plain
from src.nets import blocks


class Net(blocks.Block):
    size = helpers.SIZE

    def forward(self, x: "plain") -> int:
        print("forward")
        return self.inner(x)

    def inner(self, x):
        from src.helpers import zeros
        return zeros(x)


def unused(x):
    return x
""",
    "src/nets/blocks.py": "from .deep import depth\n\n\nclass Block:\n    deep = depth(3)\n",
    "src/nets/deep.py": "def depth(n):\n    return n\n",
    "src/helpers.py": """
SIZE = 3
TABLE = {}
TABLE["a"] = 1


def zeros(x):
    return 0 * x * TABLE["a"]


def other(x):
    return x
""",
    "src/whole.py": "from src import helpers\n\n\ndef hand_on():\n    return vars(helpers)\n",
}


class Fork:
    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in FORK.items():
            self.write(name, text)
        (root / "src/run").mkdir()
        for name in ("hashing", "sources"):
            shutil.copy(ROOT / f"src/run/{name}.py", root / "src/run")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def code(self):
        """src.run.hashing as a new process would have it."""
        ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "src"}
        for name in ours:
            del sys.modules[name]
        sys.path.insert(0, str(self.root))
        try:
            return importlib.import_module("src.run.hashing")
        finally:
            sys.path.remove(str(self.root))
            for name in ("src", "src.run", "src.run.sources", "src.run.hashing"):
                sys.modules.pop(name, None)
            sys.modules.update(ours)


@pytest.fixture
def fork(tmp_path) -> Fork:
    return Fork(tmp_path.resolve())


def test_what_a_class_reaches_is_followed_through_imports_bases_methods_and_constants(fork):
    units = {
        (file, name)
        for file, names in fork.code().reach("src.nets.mine:Net").items()
        for name in names
        if name
    }
    assert units == {
        ("src/nets/mine.py", "Net"), ("src/nets/blocks.py", "Block"), ("src/nets/deep.py", "depth"),
        ("src/helpers.py", "SIZE"), ("src/helpers.py", "zeros"), ("src/helpers.py", "TABLE"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name, old, new, seen",
    [
        ("src/nets/mine.py", "self.inner(x)", "self.inner(-x)", "src/nets/mine.py: Net"),
        ("src/nets/deep.py", "return n", "return n + 1", "src/nets/deep.py: depth"),
        ("src/helpers.py", "return 0 * x", "return 1 * x", "src/helpers.py: zeros"),
        ("src/helpers.py", 'TABLE["a"] = 1', 'TABLE["a"] = 2', "src/helpers.py: TABLE"),
        ("src/helpers.py", "SIZE = 3", "SIZE = 4", "src/helpers.py: SIZE"),
    ],
)
def test_an_edit_of_what_is_reached_is_named(fork, name, old, new, seen):
    before = fork.code().reach("src.nets.mine:Net")
    fork.edit(name, old, new)
    code = fork.code()
    assert code.edited(before) == code.changes(before, code.reach("src.nets.mine:Net")) == [seen]


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("src/nets/mine.py", "def unused(x):\n    return x", "def unused(x):\n    return -x"),
        ("src/nets/mine.py", 'print("forward")', 'print("hello", self)'),
        ("src/nets/mine.py", '(self, x: "plain") -> int', "(self, x)"),
        ("src/helpers.py", "def other(x):\n    return x", "def other(x):\n    return 2 * x"),
        ("src/helpers.py", "SIZE = 3", "# the number of sides\nSIZE  =  3"),
        ("src/losses.py", "return x", "return x + 1"),
    ],
)
def test_an_edit_that_can_not_reach_it_does_not_count(fork, name, old, new):
    before = fork.code()
    units, total = before.reach("src.nets.mine:Net"), before.hash_of("src.nets.mine:Net")
    fork.edit(name, old, new)
    code = fork.code()
    assert code.edited(units) == code.changes(units, code.reach("src.nets.mine:Net")) == []
    assert code.hash_of("src.nets.mine:Net") == total


def test_of_a_table_of_choices_only_the_entry_counts_that_is_used(fork):
    before = fork.code().reach("src.losses:LOSSES[focal]")
    assert {name for name in before["src/losses.py"] if name} == {"LOSSES[focal]", "focal", "plain", "SCALE"}
    fork.edit(
        "src/losses.py",
        'LOSSES = {"plain": plain, "focal": focal}',
        'LOSSES = {"mine": lambda x: -x, "focal": focal, "plain": plain}',
    )
    assert fork.code().edited(before) == []
    fork.edit("src/losses.py", '"focal": focal', '"focal": plain')
    assert fork.code().edited(before) == ["src/losses.py: LOSSES[focal]"]


def test_a_table_whose_entry_the_source_does_not_show_counts_whole(fork):
    fork.edit("src/losses.py", "LOSSES = {", 'LOSSES = {f"p{k}": plain for k in (3, 5)} | {')
    assert {"LOSSES[p3]", "plain", "focal"} <= set(
        fork.code().reach("src.losses:LOSSES[p3]")["src/losses.py"]
    )


def test_a_module_that_is_handed_on_counts_whole(fork):
    before = fork.code().reach("src.whole:hand_on")
    fork.edit("src/helpers.py", "def other(x):\n    return x", "def other(x):\n    return 2 * x")
    assert "src/helpers.py: other" in fork.code().edited(before)


def test_a_module_imported_by_its_whole_name_is_followed(fork):
    fork.write("src/dotted.py", "import src.helpers\n\n\ndef f(x):\n    return src.helpers.zeros(x)\n")
    assert {"zeros", "TABLE"} <= set(fork.code().reach("src.dotted:f")["src/helpers.py"])


def test_a_local_name_is_no_dependency_though_a_function_is_called_alike(fork):
    fork.edit(
        "src/helpers.py", "def other(x):\n    return x", "def other(x):\n    zeros = x\n    return zeros"
    )
    assert set(fork.code().reach("src.helpers:other")["src/helpers.py"]) == {"", "other"}


def test_the_source_is_read_as_the_process_began(fork):
    code = fork.code()
    fork.edit("src/nets/deep.py", "return n", "return n + 1")
    late, fresh = code.reach("src.nets.mine:Net"), fork.code()
    assert fresh.edited(late) == ["src/nets/deep.py: depth"], (
        "what runs is the old code, so that is what must be written down"
    )


def test_a_removed_file_is_named_and_whole_files_of_older_versions_are_compared(fork):
    code = fork.code()
    old_format = {
        "src/losses.py": code.sources.read(fork.root / "src/losses.py").sha,
        "src/gone.py": "1",
        "src/helpers.py": "0",
    }
    assert code.edited(old_format) == ["src/gone.py (removed)", "src/helpers.py"]


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[path.stem] = module
    return module


def test_a_function_of_the_competitors_own_file_its_helpers_and_parameters_count(fork, monkeypatch):
    text = """
import numpy
from bright_of_test import bright

def read(record, scale=1):
    return helper(record) * scale

def helper(record):
    return bright(numpy.zeros(3))

def factory(scale):
    def inner(record):
        return helper(record) * scale
    return inner

class Reader:
    def __init__(self, scale):
        self.scale = scale
    def __call__(self, record):
        return helper(record)
    def read(self, record):
        return helper(record) * self.scale
"""
    fork.write("mine_of_test.py", text)
    fork.write("bright_of_test.py", "def bright(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(fork.root))
    mine, code = load(fork.root / "mine_of_test.py"), fork.code()
    monkeypatch.setitem(sys.modules, "mine_of_test", mine)
    hashes = {
        name: code.hash_of(thing)
        for name, thing in {
            "plain": mine.read, "twice": functools.partial(mine.read, scale=2), "thrice": functools.partial(mine.read, scale=3),
            "inner 1": mine.factory(1), "inner 2": mine.factory(2), "object 1": mine.Reader(1), "object 2": mine.Reader(2),
            "method 1": mine.Reader(1).read, "method 2": mine.Reader(2).read,
        }.items()
    }  # fmt: skip
    assert len(set(hashes.values())) == len(hashes)
    units = code.reach(mine.read)
    assert {name for name in units["mine_of_test.py"] if name} == {"read", "helper"} and "bright" in units[
        "bright_of_test.py"
    ]
    fork.edit("mine_of_test.py", "numpy.zeros(3)", "numpy.ones(3)")
    assert fork.code().edited(units) == ["mine_of_test.py: helper"]


def test_the_kits_own_stages_are_reached_by_name():
    from src.run import hashing

    units = hashing.reach(
        "src.prepare:prepare_inputs", "src.train_fold:train_fold", "src.training.losses:LOSSES[focal]"
    )
    assert {"src/data/images.py", "src/model/cut.py", "src/training/loop.py"} <= set(
        units
    ) and "focal" in units["src/training/losses.py"]
    assert (
        "cross_entropy" not in units["src/training/losses.py"]
        and "src/config.py" not in units
        and hashing.edited(units) == []
    )


def test_the_files_that_are_not_followed_exist():
    from src.run import hashing

    assert not [name for name in hashing.PLUMBING if not (ROOT / name).is_file()]


def test_a_message_names_five_edits_and_counts_the_others():
    """After the rooms were moved, a run of an earlier commit was answered with seventy names."""
    assert hashing.few(["b", "a", "a"]) == "a, b"
    assert hashing.few(str(number) for number in range(7)) == "0, 1, 2, 3, 4 and 2 more"
