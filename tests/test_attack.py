"""A few of each kind of attack; python tests/attack.py makes many."""

import pytest
from attack import flip_often, kill_often, race_often

pytestmark = pytest.mark.slow


def test_kills_of_make_leave_the_files_of_an_undisturbed_run(tmp_path):
    assert kill_often(tmp_path, 5, seed=0)["kills"] >= 5


def test_two_commands_at_once_leave_the_files_and_the_ledger_of_undisturbed_runs(tmp_path):
    assert race_often(tmp_path, 5, seed=0)["races"] == 5


def test_no_flipped_bit_is_used_in_silence(tmp_path):
    counts = flip_often(tmp_path, 30, seed=0)
    assert counts["silent"] == counts["unclear"] == 0 and counts["refused by name"] > 10
