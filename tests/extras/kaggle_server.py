"""A server on this machine that answers Kaggle's client as Kaggle's API does, as far as others have recorded it.

It proves which bytes the kit sends and that it understands those answers, not that Kaggle accepts them.

Where the shapes come from:
- requests and answers that go well are built by the client's own types (kagglesdk 0.1.38,
  competitions/types/competition_api_service.py), at the paths of its services/competition_api_service.py;
- DownloadDataFiles is a redirect to a file with ETag, Last-Modified, Accept-Ranges and Content-Length
  (kagglesdk HttpRedirect; KaggleApi.download_file), which is sent in part where a Range is asked for;
- an upload is a PUT to `createUrl` (KaggleApi.upload_complete);
- data sets and notebooks: datasets/, blobs/ and kernels/types; a data set that is not there, or not yet, is
  403 (quoted in public notes of 2026, with the body);
- a competition's `ref` is its address (Kaggle/kaggle-cli issue 555), dates have milliseconds and a Z
  (kagglesdk DateTimeSerializer), pages have the server's own size (issue 899), a refused file shows up as a
  submission with status ERROR and an errorDescription (issue 1190);
- refusals: beside each. Those of CreateSubmission are quoted word for word in the notes of several public
  repositories (2026, to be found by the sentence), one of them with the whole body.
"""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from kagglesdk.blobs.types import blob_api_service as blobs
from kagglesdk.competitions.types import competition_api_service as types
from kagglesdk.competitions.types.submission_status import SubmissionStatus
from kagglesdk.datasets.types import dataset_api_service as datasets
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
from kagglesdk.kernels.types import kernels_api_service as kernels

SLUG = "coloured-squares"
SERVICES = "competitions.CompetitionApiService datasets.DatasetApiService blobs.BlobApiService kernels.KernelsApiService"
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
    # of a data set that is not there; whole, in public notes of 2026
    "no data set": Refusal(
        403,
        {
            "error": {
                "code": 403,
                "message": "Permission 'datasets.get' was denied",
                "status": "PERMISSION_DENIED",
            }
        },
    ),
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
        self.datasets: dict[str, list[dict[str, bytes]]] = {}  # owner/slug -> its versions: files by name
        self.statuses: list[str] = []  # of a data set, at the next looks; then READY
        self.notebooks: list[kernels.ApiSaveKernelRequest] = []
        self.error = ""  # of the next data set or notebook

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

    # ---- data sets and notebooks

    def start_blob_upload(self, body: dict) -> blobs.ApiStartBlobUploadResponse:
        answer = blobs.ApiStartBlobUploadResponse()
        answer.token = f"token{len(self.files)}"
        answer.create_url = f"http://localhost/upload/{answer.token}"
        self.files[answer.token] = blobs.ApiStartBlobUploadRequest.from_dict(body).name
        return answer

    def create_dataset(self, body: dict) -> datasets.ApiCreateDatasetResponse:
        request = datasets.ApiCreateDatasetRequest.from_dict(body)
        assert request.is_private
        return self.keep(f"{request.owner_slug}/{request.slug}", request.files)

    def create_dataset_version(self, body: dict) -> datasets.ApiCreateDatasetResponse:
        request = datasets.ApiCreateDatasetVersionRequest.from_dict(body)
        return self.keep(f"{request.owner_slug}/{request.dataset_slug}", request.body.files)

    def keep(self, name: str, files: list[datasets.ApiDatasetNewFile]) -> datasets.ApiCreateDatasetResponse:
        answer = datasets.ApiCreateDatasetResponse()
        answer.status, answer.error = "error" if self.error else "ok", self.error
        if not self.error:
            content = {self.files[file.token]: self.uploads[file.token] for file in files}
            self.datasets.setdefault(name, []).append(content)
        return answer

    def get_dataset_status(self, body: dict) -> "datasets.ApiGetDatasetStatusResponse | Refusal":
        request = datasets.ApiGetDatasetStatusRequest.from_dict(body)
        status = self.statuses.pop(0) if self.statuses else "READY"
        if f"{request.owner_slug}/{request.dataset_slug}" not in self.datasets or status == "no data set":
            return REFUSALS["no data set"]
        answer = datasets.ApiGetDatasetStatusResponse()
        answer.status = DatabundleVersionStatus[status]
        return answer

    def get_dataset(self, body: dict) -> datasets.ApiDataset:
        request = datasets.ApiGetDatasetRequest.from_dict(body)
        answer = datasets.ApiDataset()
        answer.current_version_number = len(self.datasets[f"{request.owner_slug}/{request.dataset_slug}"])
        return answer

    def save_kernel(self, body: dict) -> kernels.ApiSaveKernelResponse:
        request = kernels.ApiSaveKernelRequest.from_dict(body)
        self.notebooks.append(request)
        answer = kernels.ApiSaveKernelResponse()
        answer.url, answer.version_number = f"https://www.kaggle.com/code/{request.slug}", len(self.notebooks)
        answer.invalid_dataset_sources = [
            one for one in request.dataset_data_sources if one not in self.datasets
        ]
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
    "StartBlobUpload": Kaggle.start_blob_upload,
    "CreateDataset": Kaggle.create_dataset,
    "CreateDatasetVersion": Kaggle.create_dataset_version,
    "GetDatasetStatus": Kaggle.get_dataset_status,
    "GetDataset": Kaggle.get_dataset,
    "SaveKernel": Kaggle.save_kernel,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kaggle: Kaggle

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service, method = urlsplit(self.path).path.removeprefix("/api/v1/").split("/")
        assert service in SERVICES
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
            answer = METHODS[method](kaggle, body)
            if isinstance(answer, Refusal):
                self.refuse(answer)
                return
            text = answer.to_json()
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


@contextmanager
def signed_in(folder: Path, monkeypatch) -> Iterator[Kaggle]:
    """The server's state, while the client of this process is signed in there, in a folder of its own."""
    state, server = start()
    home = folder / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    for name, value in environment(server, str(home)).items():
        monkeypatch.setenv(name, value)
    from kaggle.api.kaggle_api_extended import KaggleApi

    monkeypatch.setattr(KaggleApi, "args", ["--local"])  # read once, when it is imported
    monkeypatch.setattr(KaggleApi, "config", str(home / "kaggle.json"))
    monkeypatch.setattr("tempfile.tempdir", str(home))  # where it keeps unfinished uploads
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between its tries
    monkeypatch.chdir(folder)
    yield state
    server.shutdown()
    server.server_close()
