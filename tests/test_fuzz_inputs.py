"""Hostile inputs, by tests/fuzz_inputs.py: each ends well or in one clear error, none in a traceback, a hang
or a file elsewhere.
"""

import pytest
from fuzz_inputs import KINDS, fuzz


@pytest.mark.parametrize(("count", "seed"), [(54, 0), pytest.param(405, 1, marks=pytest.mark.slow)])
def test_a_hostile_input_ends_well_or_in_one_clear_error(tmp_path, count, seed):
    counts, bad = fuzz(count, seed, tmp_path)
    assert not bad, "\n".join(bad)
    assert sum(counts.values()) == count and {kind for kind, _ in counts} == {*KINDS}
