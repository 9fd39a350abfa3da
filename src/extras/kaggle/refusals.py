"""What Kaggle's refusals mean, in words, and the page to open.

The API answers 400, 401, 403, 404 or 429 with a short message; the client shows the number alone. The
messages are those that users have reported: tests/extras/kaggle_server.py has each with its source.
"""

import re

SITE = "https://www.kaggle.com"
# {page} is the competition's; {near} names competitions that are written alike
CAUSES = {
    "rules": (
        "its rules are not accepted: open {page}/rules, Join Competition, and accept them. An account without"
        f" a verified phone number may get the same answer: {SITE}/settings, Phone Verification"
    ),
    "phone": f"your account is not verified: open {SITE}/settings, Phone Verification",
    "notebooks": ("this is a code competition, which takes no csv: submit a notebook, from {page}/code"),
    "closed": "it takes no submissions any more (or not yet): see the dates, {page}/overview/timeline",
    "limit": "today's submissions are used up, the day ends at midnight UTC: see {page}/submissions",
    "file": "it takes another file: see {page}/overview/evaluation",
    "name": (
        "either there is no competition of this name{near}, or you have not joined it: open {page}/rules."
        f" A token of limited scope gets the same answer: {SITE}/settings/api"
    ),
    "absent": (
        "there is no competition of this name{near} (the name stands behind /competitions/ in the address of"
        " its page), or it is closed: {page}"
    ),
    "token": f"your credentials are not accepted, expired or revoked: create new ones, {SITE}/settings/api",
    "hurry": "too many requests: wait some minutes, the same command goes on",
    "server": f"the fault is Kaggle's: try again in some minutes, see {SITE}/status",
    "unknown": "see {page}/overview; where it is the description, use plain letters in MSG",
}
# in Kaggle's message; the first that fits
PATTERNS = {
    r"verif(y|ied|ication)": "phone",  # a guess: no such answer is on record
    r"accept .*rules": "rules",
    r"only accepts submissions from notebooks": "notebooks",
    r"submissions have been disabled|deadline": "closed",
    r"daily submission allowance|maximum number of submissions": "limit",
    r"must be named|exceeds the maximum size|must have \d+ rows": "file",
    r"permission '.*' was denied": "name",
}
STATUSES = {401: "token", 403: "rules", 404: "absent", 429: "hurry"}


def cause_of(status: int, message: str) -> str:
    """A key of CAUSES for an answer of Kaggle."""
    if status in (401, 429):  # their messages say no more
        return STATUSES[status]
    for pattern, cause in PATTERNS.items():
        if re.search(pattern, message, re.IGNORECASE):
            return cause
    return STATUSES.get(status, "server" if status >= 500 else "unknown")


def in_words(cause: str, slug: str, near: str = "") -> str:
    """What a cause means for this competition, and the page to open."""
    return CAUSES[cause].format(page=f"{SITE}/competitions/{slug}", near=near)
