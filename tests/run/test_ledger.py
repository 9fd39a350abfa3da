"""submissions/ledger.csv: a line per csv, carried over from earlier versions, filled in by hash, never lost."""

import csv
import os
from pathlib import Path

import pytest
from test_files import together

from src.run.ledger import COLUMNS, add_to_ledger, read_ledger, update_ledger

NOTE = {
    "when": "2026-11-29T10:00:00",
    "submission": "x-baseline.csv",
    "run": "x-baseline",
    "comp": "x",
    "metric": "macro_f1",
    "lower_is_better": False,
    "oof": 0.912345678,
    "mean": 0.91,
    "spread": 0.01,
    "folds": {"0": 0.9, "1": 0.92},
    "decode": {"nested": 0.905},
    "oof_rows": 3409,
    "test_rows": 372,
    "recipe": "a" * 16,
    "fold_hash": "b" * 16,
    "commit": "1234567",
    "sha256": "c" * 16,
}
# as the ledgers of earlier versions were, the last two filled in by hand
EARLIER = """when,submission,metric,oof,spread,folds,commit,sha256,public,private
2026-01-01T00:00:00,x-head.csv,macro_f1,0.84400,0.01100,5,abc,0123456789abcdef,0.851,
2026-01-02T00:00:00,x-head.fold0.csv,,,,fold 0 only,abc,fedcba9876543210,,
"""


@pytest.fixture
def ledger(tmp_path) -> Path:
    return tmp_path / "ledger.csv"


def test_a_line_holds_what_made_the_csv_and_has_room_for_the_leaderboard(ledger):
    add_to_ledger(ledger, NOTE)
    (row,) = read_ledger(ledger)
    assert tuple(row) == COLUMNS
    assert row["oof"] == "0.91235" and row["nested"] == "0.90500" and row["better"] == "higher"
    assert row["folds"] == "2" and row["fold_scores"] == "0.90000 0.92000"
    assert all(row[name] == NOTE[name] for name in ("run", "comp", "recipe", "fold_hash", "sha256"))
    assert not any(row[name] for name in ("pushed", "ref", "public", "private", "note"))


def test_a_ledger_of_an_earlier_version_keeps_its_lines_and_what_was_written_into_them(ledger):
    ledger.write_text(EARLIER)
    add_to_ledger(ledger, NOTE)
    first, fold, new = read_ledger(ledger)
    assert first["public"] == "0.851" and first["run"] == "x-head" and first["oof"] == "0.84400"
    assert fold["run"] == "x-head" and fold["folds"] == "fold 0 only"
    assert new["run"] == "x-baseline"


def test_the_same_csv_fills_what_its_line_of_an_earlier_version_lacks_and_changes_nothing_else(ledger):
    ledger.write_text(EARLIER)
    add_to_ledger(ledger, NOTE | {"submission": "x-head.csv", "sha256": "0123456789abcdef"})
    first, _ = read_ledger(ledger)
    assert first["recipe"] == "a" * 16 and first["public"] == "0.851"
    assert first["oof"] == "0.84400" and first["when"] == "2026-01-01T00:00:00"


def test_columns_of_ones_own_and_what_a_spreadsheet_does_to_the_file_are_carried_over(ledger):
    text = (
        EARLIER.replace(",", ";").replace(";private", ";private;mine").replace("0.851;", "0.851;;good, but")
    )
    ledger.write_text(text, encoding="utf-8-sig")
    add_to_ledger(ledger, NOTE)
    assert [row["mine"] for row in read_ledger(ledger)] == ["good, but", "", ""]
    assert ledger.read_text().splitlines()[0].split(",") == [*COLUMNS, "mine"]


def test_a_comma_too_many_in_a_note_is_no_loss(ledger):
    add_to_ledger(ledger, NOTE)
    ledger.write_text(ledger.read_text().rstrip("\n") + "flips, lr halved\n")
    assert read_ledger(ledger)[0]["note"] == "flips,  lr halved"


def test_another_csv_of_that_name_is_left_alone(ledger):
    ledger.write_text("date,amount\n1,2\n")
    with pytest.raises(ValueError, match="is no ledger, its first line lacks submission or sha256: move it"):
        add_to_ledger(ledger, NOTE)
    assert ledger.read_text() == "date,amount\n1,2\n"


def test_scores_are_filled_in_by_hash_in_every_line_of_that_csv(ledger):
    for name in ("a.csv", "b.csv"):
        add_to_ledger(ledger, NOTE | {"submission": name})
    add_to_ledger(ledger, NOTE | {"submission": "other.csv", "sha256": "d" * 16})
    assert update_ledger(ledger, "c" * 16, {"public": "0.9"}) == 2
    assert [row["public"] for row in read_ledger(ledger)] == ["0.9", "0.9", ""]
    assert update_ledger(ledger, "e" * 16, {"public": "0.9"}) == 0


def test_scores_that_arrive_while_others_submit_are_not_lost(ledger):
    add_to_ledger(ledger, NOTE)
    code = """
import sys
from pathlib import Path
from src.run.ledger import add_to_ledger, update_ledger
for number in range(12):
    add_to_ledger(Path(sys.argv[2]), {"submission": "a.csv", "sha256": f"{sys.argv[1]}-{number:015}"})
    update_ledger(Path(sys.argv[2]), "c" * 16, {f"column{sys.argv[1]}": str(number)})
"""
    together(code, str(ledger))
    rows = read_ledger(ledger)
    assert len(rows) == 1 + 4 * 12 and os.listdir(ledger.parent) == ["ledger.csv"]
    mine = [value for name, value in rows[0].items() if name.startswith("column")]
    assert mine == ["11"] * 4


def test_a_run_fills_its_line(bench):
    bench.run()
    (row,) = csv.DictReader(Path("submissions/ledger.csv").open())
    assert (row["run"], row["comp"], row["folds"]) == ("tiny-run", "tiny", "3")
    assert (row["oof_rows"], row["test_rows"], row["better"]) == ("36", "9", "higher")
    assert len(row["fold_scores"].split()) == 3 and len(row["recipe"]) == len(row["fold_hash"]) == 16
