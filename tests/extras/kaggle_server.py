"""A server on this machine that answers Kaggle's client as Kaggle's API does, as far as others have recorded it.

It proves which bytes the kit sends and that it understands those answers, not that Kaggle accepts them.

Where the shapes come from:
- requests and answers that go well are built by the client's own types (kagglesdk 0.1.38,
  competitions/types/competition_api_service.py), at the paths of its services/competition_api_service.py;
- DownloadDataFiles is a redirect to a file with ETag, Last-Modified, Accept-Ranges and Content-Length
  (kagglesdk HttpRedirect; KaggleApi.download_file), which is sent in part where a Range is asked for;
- an upload is a PUT to `createUrl` (KaggleApi.upload_complete);
- a competition's `ref` is its address (Kaggle/kaggle-cli issue 555), dates have milliseconds and a Z
  (kagglesdk DateTimeSerializer), pages have the server's own size (issue 899), a refused file shows up as a
  submission with status ERROR and an errorDescription (issue 1190);
- refusals: beside each. Those of CreateSubmission are quoted word for word in the notes of several public
  repositories (2026, to be found by the sentence), one of them with the whole body.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

from kagglesdk.competitions.types import competition_api_service as types
from kagglesdk.competitions.types.submission_status import SubmissionStatus

SLUG = "coloured-squares"
SERVICE = "/api/v1/competitions.CompetitionApiService/"
PAGE = 2  # submissions on a page


class Refusal(NamedTuple):
    status: int
    body: dict


def failed_precondition(message: str) -> Refusal:
    body = {
        "error": {
            "code": 400,
            "message": f"Submission not allowed:  {message}",
            "status": "FAILED_PRECONDITION",
        }
    }
    return Refusal(400, body)


REFUSALS = {
    # Kaggle/kaggle-cli issue 46
    "unauthorized": Refusal(401, {"code": 401, "message": "Unauthorized"}),
    # openai/mle-bench issue 29; Kaggle/kaggle-cli issue 152
    "rules": Refusal(
        403,
        {
            "code": 403,
            "message": "You must accept this competition's rules before you'll be able to download files.",
        },
    ),
    # Kaggle/kaggle-cli issue 177
    "rules to submit": Refusal(
        403, {"code": 403, "message": "You cannot submit until you accept the competition rules"}
    ),
    # Kaggle/kaggle-cli issues 488 and 530, a misspelt name, and 555; a token of limited scope gets it too
    "permission": Refusal(403, {"code": 403, "message": "Permission 'competitions.get' was denied"}),
    # Kaggle/kaggle-cli issues 16 and 21
    "not found": Refusal(404, {"code": 404, "message": "NotFound"}),
    # Kaggle/kaggle-cli issue 931, and 132 of earlier years
    "too many": Refusal(
        429, {"error": {"code": 429, "message": "Too many requests", "status": "RESOURCE_EXHAUSTED"}}
    ),
    "too many, earlier": Refusal(429, {"code": 429, "message": "TooManyRequests"}),
    "limit": failed_precondition(
        "Your team has used its daily Submission allowance (5) today, please try again tomorrow UTC"
        " (3.2 hours from now)."
    ),
    "notebooks": failed_precondition("This competition only accepts Submissions from Notebooks."),
    "closed": failed_precondition("Submissions have been disabled for this competition."),
    "file": failed_precondition('Submission files must be named "submission.json" for this Competition.'),
    # Kaggle/kaggle-cli issue 419: the number alone
    "bare": Refusal(400, {}),
}


class Kaggle:
    """What the server knows of one competition; `refuse[method]` and `lose[method]` make it fail."""

    def __init__(self) -> None:
        now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.competition = types.ApiCompetition()
        self.competition.ref = f"https://www.kaggle.com/competitions/{SLUG}"
        self.competition.deadline = now + timedelta(days=30)
        self.competition.user_has_entered = True
        self.limit = 5  # submissions a day
        self.archive = b""
        self.submissions: list[types.ApiSubmission] = []  # the newest first
        self.refuse: dict[str, Refusal] = {}
        self.lose: set[str] = set()  # methods that work and whose answer is lost
        self.cut: list[int] = []  # bytes after which the next downloads break off
        self.after: dict[str, Callable[[], object]] = {}  # called when a method is done, before its answer
        self.calls: Counter[str] = Counter()
        self.ranges: list[str] = []  # asked for
        self.uploads: dict[str, bytes] = {}
        self.files: dict[str, str] = {}  # upload token -> file name

    # ---- the methods of the API: a request and its answer, by the client's own types

    def get_competition(self, body: dict) -> types.ApiCompetition:
        return self.competition

    def list_competitions(self, body: dict) -> types.ApiListCompetitionsResponse:
        answer = types.ApiListCompetitionsResponse()
        words = types.ApiListCompetitionsRequest.from_dict(body).search.split()
        answer.competitions = [self.competition] if any(word in SLUG for word in words) else []
        return answer

    def list_submissions(self, body: dict) -> types.ApiListSubmissionsResponse:
        start = int(types.ApiListSubmissionsRequest.from_dict(body).page_token or 0)
        answer = types.ApiListSubmissionsResponse()
        answer.submissions = self.submissions[start : start + PAGE]
        answer.next_page_token = str(start + PAGE) if start + PAGE < len(self.submissions) else ""
        return answer

    def get_submission_limits(self, body: dict) -> types.ApiSubmissionLimits:
        today = datetime.now(UTC).date()
        answer = types.ApiSubmissionLimits()
        answer.num_today = sum(one.date.date() == today for one in self.submissions)
        answer.num_total = len(self.submissions)
        answer.num_allowed_now = max(self.limit - answer.num_today, 0)
        return answer

    def start_submission_upload(self, body: dict) -> types.ApiStartSubmissionUploadResponse:
        request = types.ApiStartSubmissionUploadRequest.from_dict(body)
        answer = types.ApiStartSubmissionUploadResponse()
        answer.token = f"token{len(self.files)}"
        answer.create_url = f"http://localhost/upload/{answer.token}"
        self.files[answer.token] = request.file_name
        return answer

    def create_submission(self, body: dict) -> types.ApiCreateSubmissionResponse:
        request = types.ApiCreateSubmissionRequest.from_dict(body)
        assert request.competition_name == SLUG and request.blob_file_tokens in self.uploads
        submission = self.add(self.files[request.blob_file_tokens], request.submission_description)
        answer = types.ApiCreateSubmissionResponse()
        answer.message, answer.ref = "Successfully submitted to Coloured Squares", submission.ref
        return answer

    def add(self, file_name: str, description: str, date: datetime | None = None) -> types.ApiSubmission:
        """A submission that is to be scored."""
        one = types.ApiSubmission()
        one.ref = 56073536 + len(self.submissions)
        one.file_name, one.description = file_name, description
        one.date = date or datetime.now(UTC).replace(tzinfo=None, microsecond=67000)
        self.submissions.insert(0, one)
        return one

    def score(self, one: types.ApiSubmission, public: str, private: str = "") -> None:
        one.status, one.public_score, one.private_score = SubmissionStatus.COMPLETE, public, private


METHODS = {
    "GetCompetition": Kaggle.get_competition,
    "ListCompetitions": Kaggle.list_competitions,
    "ListSubmissions": Kaggle.list_submissions,
    "GetSubmissionLimits": Kaggle.get_submission_limits,
    "StartSubmissionUpload": Kaggle.start_submission_upload,
    "CreateSubmission": Kaggle.create_submission,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kaggle: Kaggle

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method = urlsplit(self.path).path.removeprefix(SERVICE)
        kaggle = self.kaggle
        kaggle.calls[method] += 1
        slug = body.get("competitionName", SLUG)
        if "Authorization" not in self.headers:
            self.refuse(REFUSALS["unauthorized"])
        elif method in kaggle.refuse:
            self.refuse(kaggle.refuse[method])
        elif slug != SLUG:
            self.refuse(REFUSALS["permission"])
        elif method == "DownloadDataFiles":
            self.answer(302, b"", {"Location": "http://localhost/storage/archive.zip?X-Goog-Signature=1"})
        else:
            text = METHODS[method](kaggle, body).to_json()
            kaggle.after.get(method, lambda: None)()
            if method in kaggle.lose:
                self.close_connection = True
                return
            self.answer(200, text.encode(), {"Content-Type": "application/json"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.kaggle.calls["upload"] += 1
        if "upload" in self.kaggle.refuse:
            self.answer(400, b"", {})
            return
        self.kaggle.uploads[urlsplit(self.path).path.rpartition("/")[2]] = content
        self.answer(200, b"", {})

    def do_GET(self) -> None:
        content, status, headers = self.kaggle.archive, 200, {}
        if asked := self.headers.get("Range"):
            self.kaggle.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        headers |= {"ETag": '"1"', "Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT", "Accept-Ranges": "bytes"}
        self.answer(status, content, headers, cut=self.kaggle.cut.pop(0) if self.kaggle.cut else None)

    def refuse(self, refusal: Refusal) -> None:
        self.answer(refusal.status, json.dumps(refusal.body).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, content: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *args) -> None:
        pass


def start() -> tuple[Kaggle, ThreadingHTTPServer]:
    """A server of its own port; the client comes to it as to a proxy for http://localhost."""
    kaggle = Kaggle()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"kaggle": kaggle}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return kaggle, server


def environment(server: ThreadingHTTPServer, home: str) -> dict[str, str]:
    """The variables that bring Kaggle's client to the server."""
    return {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "KAGGLE_USERNAME": "someone",
        "KAGGLE_KEY": "0123456789abcdef0123456789abcdef",
        "KAGGLE_CONFIG_DIR": home,
        "HOME": home,
        "http_proxy": f"http://127.0.0.1:{server.server_address[1]}",
        "no_proxy": "",
        "NO_PROXY": "",
    }
