"""The Korean README has the content of README.md: whatever is no language must be equal in both."""

import re
from collections import Counter
from pathlib import Path

import pytest
from test_docs import ROOT, commands_of

ENGLISH, KOREAN = ROOT / "README.md", ROOT / "README.ko.md"
ADVICE = "README.ko.md must follow README.md"


def without_blocks(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def of_blocks(path: Path) -> list[str]:
    """The lines of code blocks without what is said of them: a comment, a description behind a file, a
    label of the diagram.
    """
    blocks = re.findall(
        r"^```\w*\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    lines = [line for block in blocks for line in block.splitlines()]
    bare = [re.sub(r"(?<=\S) {3,}\S.*|  #.*", "", line) for line in lines]
    return [re.sub(r"<br>[^\"]*\"", '<br>"', line).rstrip() for line in bare]


def shape(path: Path) -> list[str]:
    """# for a heading, | for a row of a table with its columns, - for an item, in their order."""
    lines = without_blocks(path).splitlines()
    marks = [re.match(r"#+ |\||- ", line) for line in lines]
    return [f"{mark[0]}{line.count('|')}" for mark, line in zip(marks, lines) if mark]


def test_the_commands_are_the_same_in_the_same_order():
    assert commands_of(KOREAN) == commands_of(ENGLISH), ADVICE


PARTS = {
    "code": r"`([^`\n]+)`",
    "links": r"\]\(([^)\s]+)\)",
    "numbers": r"(?<![\w.])\d[\d.,]*(?<=\d)",
}


@pytest.mark.parametrize("part", [*PARTS])
def test_what_is_no_language_is_equal(part):
    found = [Counter(re.findall(PARTS[part], without_blocks(path))) for path in (ENGLISH, KOREAN)]
    found = [counter - Counter({"README.md": 1, "README.ko.md": 1}) for counter in found]
    assert found[0] == found[1], f"{ADVICE}: {found[0] - found[1]} or {found[1] - found[0]}"


def test_headings_tables_and_items_follow_each_other_alike():
    assert shape(KOREAN) == shape(ENGLISH), ADVICE


def test_the_code_blocks_are_equal_up_to_their_comments():
    assert of_blocks(KOREAN) == of_blocks(ENGLISH), ADVICE


def test_it_is_in_korean():
    text = without_blocks(KOREAN)
    assert len(re.findall("[가-힣]", text)) > 1500
