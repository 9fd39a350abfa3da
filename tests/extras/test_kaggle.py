"""Kaggle's real client against a server on this machine: see kaggle_server.py for what that proves."""

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, ROOT, make_competition
from kaggle_server import REFUSALS, SLUG, Kaggle, signed_in

pytest.importorskip("kaggle")

from kagglesdk.competitions.types.submission_status import SubmissionStatus

from src.extras.kaggle import push as pushing
from src.extras.kaggle.command import main
from src.run.files import file_sha, write_json
from src.run.ledger import add_to_ledger, read_ledger

LEDGER = Path("submissions/ledger.csv")


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    with signed_in(tmp_path, monkeypatch) as state:
        yield state


def make_csv(name: str = "squares-baseline", label: str = "blue", **more) -> str:
    """A csv as submit leaves it; returns its hash."""
    folder = Path("submissions")
    folder.mkdir(exist_ok=True)
    csv = folder / f"{name}.csv"
    csv.write_text(f"id,colour\nte000,{label}\n")
    note = {
        "submission": csv.name,
        "run": name,
        "comp": SLUG,
        "when": "2026-01-01T10:00:00",
        "oof": 0.9,
        "sha256": file_sha(csv),
    }
    write_json(note | more, csv.with_suffix(".json"))
    add_to_ledger(LEDGER, note | more)
    return note["sha256"]


def push(*words: str, name: str = "squares-baseline") -> None:
    main(["push", f"runs/{name}", *words])


def rows() -> list[dict[str, str]]:
    return read_ledger(LEDGER)


# ---- there and back ----


def test_from_kaggle_to_a_submission_and_back_to_the_ledger(kaggle, bench, capsys):
    """Download, unpack, infer, train, submit, push, pull."""
    shutil.rmtree("inputs")
    source = make_competition(Path("source"))
    shutil.make_archive("squares", "zip", source)
    kaggle.archive = Path("squares.zip").read_bytes()
    bench.monkeypatch.setenv("COMP", SLUG)
    bench.monkeypatch.setenv("INPUTS", "inputs")
    main(["download"])
    said = capsys.readouterr().out
    assert "def coloured_squares() -> Competition:" in said and "'blue', 'green', 'red'" in said
    assert not list(Path("inputs/.kaggle").iterdir())

    bench.run(FAST, "squares", comp=SLUG)
    csv = Path("submissions/squares.csv")
    push("--message", "first try", name="squares")
    assert kaggle.uploads["token0"] == csv.read_bytes()
    (sent,) = kaggle.submissions
    assert sent.description == f"first try sha-{file_sha(csv)}" and sent.file_name == "squares.csv"
    assert f"squares.csv -> {SLUG} as {sent.ref}, 4 more today" in capsys.readouterr().out

    main(["pull"])
    assert "is being scored" in capsys.readouterr().out and rows()[0]["public"] == ""
    kaggle.score(sent, "0.91234")
    main(["pull"])
    (row,) = rows()
    assert (row["public"], row["private"], row["ref"]) == ("0.91234", "", str(sent.ref))
    kaggle.score(sent, "0.91234", "0.90000")
    main(["pull"])
    assert rows()[0]["private"] == "0.90000" and rows()[0]["oof"] == row["oof"]


# ---- push ----


def test_a_csv_is_sent_once(kaggle):
    make_csv()
    push()
    with pytest.raises(
        ValueError, match=r"was sent already: on \S+ UTC as 56073536, public not fetched: make pull"
    ):
        push()
    assert kaggle.calls["CreateSubmission"] == 1
    make_csv(label="red")
    push()
    assert kaggle.calls["CreateSubmission"] == 2


def test_the_same_csv_of_another_run_or_of_a_teammate_is_known_by_its_hash(kaggle):
    sha = make_csv()
    for number in range(4):  # on the last of three pages
        kaggle.add("x.csv", "by hand" if number else f"from elsewhere sha-{sha}")
    with pytest.raises(ValueError, match=r"was sent already: on \S+ \S+ UTC as 56073536"):
        push()
    assert kaggle.calls["StartSubmissionUpload"] == 0 and rows()[0]["ref"] == "56073536"
    make_csv("copy")
    with pytest.raises(ValueError, match="copy.csv was sent already"):
        push(name="copy")


def test_what_was_not_checked_or_is_not_whole_is_not_sent(kaggle):
    with pytest.raises(
        ValueError, match="squares-baseline.csv is not here: make submit RUN=squares-baseline first"
    ):
        push()
    make_csv("squares-baseline.fold0", partial="fold 0 only", run="squares-baseline")
    with pytest.raises(
        ValueError, match=r"is partial \(fold 0 only\): make submit RUN=squares-baseline takes all"
    ):
        push(name="squares-baseline.fold0")
    make_csv()
    Path("submissions/squares-baseline.csv").write_text("id,colour\nte000,green\n")
    with pytest.raises(
        ValueError, match="is not the csv that was checked, it has changed since: make submit"
    ):
        push()
    make_csv(comp="demo")
    with pytest.raises(ValueError, match="is of the demo, which is no competition of Kaggle's"):
        push()
    assert not kaggle.calls


def test_the_last_submission_of_the_day_needs_a_yes(kaggle, monkeypatch):
    make_csv()
    kaggle.add("x.csv", "one of today")
    kaggle.limit = 2
    with pytest.raises(
        ValueError, match="nothing is sent, it would be the last submission of today: LAST=1 sends it"
    ):
        push()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in ("", "n", "no"):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        with pytest.raises(ValueError, match="LAST=1"):
            push()
    assert kaggle.calls["CreateSubmission"] == 0
    monkeypatch.setattr("builtins.input", lambda question: "y")
    push()
    make_csv("other", "red")
    kaggle.limit = 3
    push("--last", name="other")
    make_csv("third", "green")
    with pytest.raises(
        ValueError, match="today's submissions are used up, the day ends at midnight UTC: see https"
    ):
        push("--last", name="third")
    assert kaggle.calls["CreateSubmission"] == 2


def test_the_first_submission_of_all_has_no_team_and_so_no_count_yet(kaggle):
    make_csv()
    kaggle.limit = 0  # as the client documents: all zero without a team
    push()
    assert kaggle.calls["CreateSubmission"] == 1


def test_an_answer_that_is_lost_is_looked_up_and_the_csv_not_sent_twice(kaggle, capsys):
    sha = make_csv()
    kaggle.lose.add("CreateSubmission")
    with pytest.raises(ValueError, match="Kaggle can't be reached to submit to coloured-squares"):
        push()
    assert rows()[0]["pushed"] and not rows()[0]["ref"]
    push()
    assert "the push that was interrupted had arrived, as 56073536; not sent again" in capsys.readouterr().out
    assert kaggle.calls["CreateSubmission"] == 1 and rows()[0]["ref"] == "56073536"
    assert kaggle.submissions[0].description.endswith(sha)


def test_a_push_that_kaggle_does_not_list_yet_waits_and_is_then_sent(kaggle, monkeypatch):
    make_csv()
    kaggle.lose.add("StartSubmissionUpload")
    with pytest.raises(ValueError, match="can't be reached"):
        push()
    kaggle.lose.clear()
    with pytest.raises(
        ValueError, match="a push began at .* and was interrupted, and Kaggle does not list it yet"
    ):
        push()
    monkeypatch.setattr(pushing, "UNLISTED", timedelta(0))
    push()
    assert kaggle.calls["CreateSubmission"] == 1 and rows()[0]["ref"]


@pytest.mark.parametrize("method", ["StartSubmissionUpload", "CreateSubmission"])
def test_a_push_that_is_killed_is_not_sent_twice(kaggle, method):
    """Killed when the server has done what was asked for, and before its answer."""
    make_csv()
    code = "import sys; from src.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "kaggle", "push", "squares-baseline"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    kaggle.after[method] = process.kill
    assert process.wait(timeout=120) == -signal.SIGKILL
    kaggle.after.clear()
    arrived = kaggle.calls["CreateSubmission"]
    if not arrived:
        with pytest.raises(ValueError, match="a push began at"):
            push()
        pushing.update_ledger(LEDGER, rows()[0]["sha256"], {"pushed": "2026-01-01T00:00:00"})  # minutes later
    push()
    assert kaggle.calls["CreateSubmission"] == 1 == len(kaggle.submissions)
    assert rows()[0]["ref"] == str(kaggle.submissions[0].ref)


def test_an_upload_that_breaks_off_sends_nothing(kaggle):
    make_csv()
    kaggle.refuse["upload"] = REFUSALS["bare"]
    with pytest.raises(
        ValueError, match="the upload broke off, nothing was sent: the same command tries again"
    ):
        push()
    assert kaggle.calls["CreateSubmission"] == 0 and not rows()[0]["pushed"]
    kaggle.refuse.clear()
    push()
    assert rows()[0]["ref"]


def test_a_csv_sent_after_the_end_is_marked(kaggle, capsys):
    make_csv()
    kaggle.competition.deadline -= timedelta(days=60)
    push("--message", "late idea")
    assert "this gets a score and no rank" in capsys.readouterr().err
    assert rows()[0]["note"] == "after the end; late idea"
    main(["pull"])
    assert rows()[0]["note"] == "after the end; late idea"


# ---- refusals ----


@pytest.mark.parametrize(
    "refusal, words",
    [
        (
            "rules to submit",
            f"its rules are not accepted: open https://www.kaggle.com/competitions/{SLUG}/rules",
        ),
        (
            "rules to submit",
            "without a verified phone number may get the same answer: https://www.kaggle.com/settings",
        ),
        ("permission", "either there is no competition of this name, or you have not joined it: open https"),
        ("unauthorized", "your credentials are not accepted, expired or revoked: create new ones, https"),
        ("not found", "there is no competition of this name (the name stands behind /competitions/"),
        ("too many", "too many requests: wait some minutes"),
        ("too many, earlier", "too many requests: wait some minutes"),
        (
            "limit",
            f"the day ends at midnight UTC: see https://www.kaggle.com/competitions/{SLUG}/submissions",
        ),
        ("notebooks", "this is a code competition, which takes no csv"),
        ("closed", "it takes no submissions any more (or not yet): see the dates"),
        ("file", "it takes another file: see https"),
        ("bare", "where it is the description, use plain letters in MSG"),
    ],
)
def test_each_refusal_of_a_submission_is_told_in_words(kaggle, refusal, words):
    make_csv()
    kaggle.refuse["CreateSubmission"] = REFUSALS[refusal]
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        push()
    message = REFUSALS[refusal].body
    assert message.get("error", message).get("message", "") in str(refused.value), "and Kaggle's own words"
    assert not rows()[0]["pushed"], "it was not sent"
    kaggle.refuse.clear()
    push()
    assert rows()[0]["ref"]


@pytest.mark.parametrize(
    "fact, words",
    [
        ({"is_kernels_submissions_only": True}, "nothing is sent, this is a code competition"),
        ({"submissions_disabled": True}, "nothing is sent, it takes no submissions any more"),
    ],
)
def test_what_kaggle_would_refuse_is_not_uploaded(kaggle, fact, words):
    make_csv()
    for name, value in fact.items():
        setattr(kaggle.competition, name, value)
    with pytest.raises(ValueError, match=words):
        push()
    assert kaggle.calls["StartSubmissionUpload"] == 0


def test_who_has_not_joined_is_warned_and_then_refused_by_kaggle(kaggle, capsys):
    make_csv()
    kaggle.competition.user_has_entered = False
    kaggle.refuse["StartSubmissionUpload"] = REFUSALS["permission"]
    with pytest.raises(ValueError, match="or you have not joined it: open https"):
        push()
    assert "warning: coloured-squares: Kaggle says that its rules are not accepted" in capsys.readouterr().err


def test_a_remark_of_ones_own_stays_beside_the_message(kaggle):
    sha = make_csv()
    pushing.update_ledger(LEDGER, sha, {"note": "flips off"})
    push("--message", "second try")
    assert rows()[0]["note"] == "flips off; second try"


def test_a_misspelt_name_gets_the_near_ones_of_kaggles_search(kaggle):
    make_csv()
    with pytest.raises(
        ValueError, match=rf"no competition of this name; did you mean {SLUG}\?, or you have not"
    ):
        push("--slug", "colored-squares")
    with pytest.raises(ValueError, match=r"no competition of this name, or you have not"):
        push("--slug", "titanic")


def test_without_credentials_or_network_it_says_what_to_do(kaggle, monkeypatch):
    make_csv()
    with monkeypatch.context() as patch:
        patch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens
        with pytest.raises(ValueError, match="Kaggle can't be reached to look up coloured-squares"):
            push()
    monkeypatch.delenv("KAGGLE_USERNAME"), monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(ValueError, match="no credentials for Kaggle, or they have expired: open https"):
        push()
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    with pytest.raises(
        ValueError, match="client is not installed: .* -m pip install -r requirements-submit.txt"
    ):
        push()


# ---- data ----


@pytest.fixture
def archive(kaggle, monkeypatch) -> Kaggle:
    make_competition(Path("source"))
    shutil.make_archive("squares", "zip", "source")
    kaggle.archive = Path("squares.zip").read_bytes()
    monkeypatch.setenv("COMP", SLUG)
    monkeypatch.delenv("INPUTS", raising=False)
    return kaggle


def test_a_download_goes_on_where_it_was_interrupted(archive):
    Path("source/notes.bin").write_bytes(np.random.default_rng(0).bytes(3 << 20))
    shutil.make_archive("squares", "zip", "source")
    archive.archive = Path("squares.zip").read_bytes()
    archive.cut = [2 << 20, 0, 0, 0, 0, 0]  # the client tries five times more; it writes a MB at a time
    with pytest.raises(ValueError, match="can't be reached to download"):
        main(["download"])
    assert not Path(f"inputs/{SLUG}.zip").exists() and not Path(f"inputs/{SLUG}").exists()
    archive.ranges.clear()
    main(["download"])
    assert len(archive.ranges) == 1 and int(archive.ranges[0][6:-1]) >= 1 << 20
    assert Path(f"inputs/{SLUG}.zip").read_bytes() == archive.archive
    assert Path(f"inputs/{SLUG}/train.csv").read_bytes() == Path("source/train.csv").read_bytes()


@pytest.mark.parametrize(
    "refusal, words",
    [
        ("rules", f"its rules are not accepted: open https://www.kaggle.com/competitions/{SLUG}/rules, Join"),
        ("not found", "there is no competition of this name (the name stands"),
        ("too many", "too many requests: wait some minutes, the same command goes on"),
        ("unauthorized", "your credentials are not accepted"),
    ],
)
def test_each_refusal_of_a_download_is_told_in_words(archive, refusal, words):
    archive.refuse["DownloadDataFiles"] = REFUSALS[refusal]
    with pytest.raises(ValueError, match=re.escape(words)):
        main(["download"])
    assert not Path(f"inputs/{SLUG}").exists()


def test_what_is_here_is_not_downloaded(archive, monkeypatch):
    Path(f"inputs/some/{SLUG}").mkdir(parents=True)
    main(["download"])
    monkeypatch.setenv("COMP", "demo")
    main(["download"])
    assert not archive.calls


def test_without_credentials_a_line_says_how_and_the_command_goes_on(archive, monkeypatch, capsys):
    monkeypatch.delenv("KAGGLE_USERNAME"), monkeypatch.delenv("KAGGLE_KEY")
    main(["download"])
    assert f"inputs/{SLUG} is not here. To download it from Kaggle: no credentials" in capsys.readouterr().out


def test_a_page_in_place_of_an_archive_and_a_hostile_archive_are_refused(archive):
    archive.archive = b"<html>sign in</html>"
    with pytest.raises(ValueError, match="what Kaggle sent is no zip archive: download it by hand from"):
        main(["download"])
    with zipfile.ZipFile("hostile.zip", "w") as hostile:
        hostile.writestr("../outside.csv", "id\n")
    archive.archive = Path("hostile.zip").read_bytes()
    with pytest.raises(ValueError, match="leads out of the folder"):
        main(["download"])
    assert not Path("outside.csv").exists() and not Path("inputs/outside.csv").exists()


# ---- pull ----


def test_a_csv_that_was_uploaded_by_hand_is_known_by_its_name_and_time(kaggle, capsys):
    make_csv(when="2026-01-02T10:00:00")
    make_csv(label="red", when="2026-01-04T10:00:00")
    date = kaggle.competition.deadline.replace(year=2026, month=1)
    kaggle.score(
        kaggle.add("squares-baseline.csv", "by hand", date.replace(day=1)), "0.1"
    )  # of another folder
    kaggle.score(kaggle.add("squares-baseline.csv", "by hand", date.replace(day=3)), "0.3")
    kaggle.score(kaggle.add("squares-baseline.csv", "by hand", date.replace(day=5)), "0.5")
    main(["pull", "--slug", SLUG])
    assert [row["public"] for row in rows()] == ["0.3", "0.5"]
    assert f"public 0.1  private -; of no csv in {LEDGER}" in capsys.readouterr().out


def test_a_file_that_kaggle_refuses_is_told_with_its_reason_and_may_be_sent_again(kaggle, capsys):
    make_csv()
    push()
    kaggle.submissions[0].status = SubmissionStatus.ERROR
    kaggle.submissions[0].error_description = "Evaluation Exception: Submission must have 12 rows"
    for _ in range(2):
        main(["pull"] if rows()[0]["pushed"] else ["pull", "--slug", SLUG])
        assert rows()[0]["note"].endswith("refused: Evaluation Exception: Submission must have 12 rows")
    assert "refused: Evaluation Exception: Submission must have 12 rows" in capsys.readouterr().out
    push()
    assert kaggle.calls["CreateSubmission"] == 2


def test_what_was_filled_in_by_hand_stays_until_kaggle_knows_better(kaggle):
    sha = make_csv()
    pushing.update_ledger(LEDGER, sha, {"public": "0.77", "mine": "x"})
    push()
    main(["pull"])
    assert rows()[0]["public"] == "0.77"
    kaggle.score(kaggle.submissions[0], "0.80000")
    main(["pull"])
    assert rows()[0]["public"] == "0.80000" and rows()[0]["mine"] == "x"


def test_a_ledger_of_which_nothing_was_sent_asks_for_the_competition(kaggle):
    make_csv()
    with pytest.raises(
        ValueError, match="has nothing that was sent: make push RUN=name, or make pull COMP=slug"
    ):
        main(["pull"])
