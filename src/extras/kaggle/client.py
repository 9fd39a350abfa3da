"""Kaggle's own client, signed in, with its refusals in words. The only file that imports it."""

import contextlib
import io
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from src.extras.kaggle.refusals import cause_of, in_words

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

INSTALL = f"{sys.executable} -m pip install -r requirements-submit.txt"
SIGN_IN = (
    "no credentials for Kaggle, or they have expired: open https://www.kaggle.com/settings/api, Generate New"
    " Token, and put it into ~/.kaggle/access_token or into the variable KAGGLE_API_TOKEN"
)


class Absent(ValueError):
    """The client is not installed, or there are no credentials."""


class Unreachable(ValueError):
    """No answer: what was asked for may have happened or not."""


def connect() -> "KaggleApi":
    """The client, signed in. Raises Absent, or ValueError where Kaggle does not let us in."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a page where there are no credentials
        try:
            from kaggle.api.kaggle_api_extended import KaggleApi
        except ImportError as error:
            raise Absent(f"Kaggle's client is not installed: {INSTALL}") from error
        api = KaggleApi()
        try:
            with explained("", "sign in"):
                api.authenticate()
        except SystemExit as error:
            raise Absent(SIGN_IN) from error
    return api


@contextlib.contextmanager
def explained(slug: str, doing: str, api: "KaggleApi | None" = None) -> Iterator[None]:
    """Raises ValueError that says in words what Kaggle refuses, and the page to open; Unreachable for no
    answer.

    doing: "download", "submit", ... With api, competitions of a similar name are looked for.
    """
    import requests

    try:
        yield
    except requests.exceptions.RequestException as error:
        response = error.response
        if response is None:
            raise Unreachable(
                f"Kaggle can't be reached to {doing} {slug} ({error}). The same command goes on when the"
                " network is back"
            ) from error
        message = message_of(response)
        cause = cause_of(response.status_code, message)
        similar = near(api, slug) if api and cause in ("name", "absent") else ""
        said = f"{response.status_code} {message}".strip()
        raise ValueError(
            f"Kaggle refuses to {doing} {slug} ({said}): {in_words(cause, slug, similar)}"
        ) from error


def message_of(response: Any) -> str:
    """What Kaggle says beside the number, which the client keeps to itself: {"code": 403, "message": "..."}
    or {"error": {"code": 429, "message": "...", "status": "RESOURCE_EXHAUSTED"}}; "" for neither.
    """
    try:
        body = response.json()
    except ValueError:
        return ""
    body = body.get("error", body) if isinstance(body, dict) else {}
    return str(body.get("message", "")) if isinstance(body, dict) else str(body)


def near(api: "KaggleApi", slug: str) -> str:
    """ "; did you mean x or y?" by Kaggle's own search; "" where it finds none."""
    slugs = set()
    for words in (slug.replace("-", " "), slug.split("-")[0]):
        with contextlib.suppress(Exception):  # the refusal is the error that counts
            found = api.competitions_list(search=words)
            slugs |= {one.ref.rstrip("/").rpartition("/")[2] for one in found.competitions}
    close = get_close_matches(slug, sorted(slugs - {slug}), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def competition_of(api: "KaggleApi", slug: str) -> Any:
    """Kaggle's facts of a competition: deadline, user_has_entered, is_kernels_submissions_only ..."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

    request = ApiGetCompetitionRequest()
    request.competition_name = slug
    with explained(slug, "look up", api), api.build_kaggle_client() as kaggle:
        return kaggle.competitions.competition_api_client.get_competition(request)


def submissions_of(api: "KaggleApi", slug: str) -> list[Any]:
    """All submissions of one's team, the newest first, over all pages."""
    from kagglesdk.competitions.types.competition_api_service import ApiListSubmissionsRequest

    request, submissions = ApiListSubmissionsRequest(), []
    request.competition_name, request.page_size = slug, 100
    with explained(slug, "list your submissions to", api), api.build_kaggle_client() as kaggle:
        while True:
            page = kaggle.competitions.competition_api_client.list_submissions(request)
            submissions += page.submissions
            if not page.next_page_token or not page.submissions:
                return submissions
            request.page_token = page.next_page_token
