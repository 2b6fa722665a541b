"""Tokens named after what is wrong with them, and what the Hub says to each.

Tables and one pure function; the server that says it is in `stand_in_hub`.
"""

from collections.abc import Mapping
from typing import Any

GOOD = "hf_goodgoodgood"
OAUTH = "hf_oauth_good"
# May read what is gated, besides those that a test grants it to.
GRANTED = (GOOD, "hf_write", "hf_fine_gated", OAUTH)
ACCOUNTS = {GOOD: "alice", OAUTH: "oauth-alice"}
FINE_GRAINED = {"hf_fine_grained": False, "hf_fine_gated": True}  # may it read gated repositories

Answer = tuple[int, str, str]
# What a gated repository answers to each token: status, error code, message.
ANSWERS: dict[str | None, Answer] = {
    None: (401, "GatedRepo", "Access to model x is restricted. You must be authenticated."),
    "hf_not_accepted": (403, "GatedRepo", "... and you are not in the authorized list."),
    "hf_pending": (403, "GatedRepo", "Your request is awaiting a review from the authors."),
    "hf_rejected": (403, "GatedRepo", "Your request to access model x has been rejected."),
    "hf_fine_grained": (
        403, "",
        "Please enable access to public gated repositories in your fine-grained token settings",
    ),
    "hf_invalid": (401, "", "Invalid credentials in Authorization header"),
    "hf_expired": (401, "", 'User Access Token "mine" is expired'),
    "hf_blind": (404, "RepoNotFound", "Repository not found"),
    "hf_limited": (429, "", "Too many requests"),
    "hf_broken": (500, "", "Internal error"),
    "hf_maintenance": (503, "", "Down for maintenance"),
    "hf_timeout": (408, "", "Request timeout"),
    "hf_no_file": (404, "EntryNotFound", "Entry not found"),
    "hf_portal": (200, "PORTAL", "Please log in to this hotel's network"),
    "hf_forbidden": (403, "", "Forbidden"),
}  # fmt: skip
# Answered whatever the repository: the token is no good, or the Hub is not.
ANYWHERE = {"hf_invalid", "hf_expired", "hf_limited", "hf_broken", "hf_maintenance", "hf_timeout",
            "hf_portal"}  # fmt: skip
# To nobody in particular, about what is private or missing.
ANONYMOUS: Answer = (401, "", "Invalid username or password.")
MISSING: Answer = (404, "RepoNotFound", "Repository not found")


def whoami(token: str, accounts: Mapping[str, str]) -> dict[str, Any]:
    """Who a token belongs to and what it may do; the shape for OAuth is a guess."""
    name = accounts.get(token, token.removeprefix("hf_").replace("_", "-"))
    if token == OAUTH:
        return {"type": "user", "name": name, "auth": {"type": "oauth"}}
    access: dict[str, Any] = {"displayName": "x", "role": "read"}
    if token == "hf_write":
        access["role"] = "write"
    if token in FINE_GRAINED:
        access["role"] = "fineGrained"
        reads = FINE_GRAINED[token]
        access["fineGrained"] = {"canReadGatedRepos": reads, "global": [], "scoped": []}
    auth = {"type": "access_token", "accessToken": access}
    return {"type": "user", "name": name, "fullname": name.title(), "auth": auth}
