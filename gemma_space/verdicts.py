"""The Hub's verdicts in words: what happened, what to do next, and the one page that helps.

Knows how a verdict reads. Does not know how it came about.
"""

from gemma_space import hub
from gemma_space.errors import AccessDeniedError
from gemma_space.hub import Answer
from gemma_space.reports import AccessReport, Verdict

DEFAULT_WAIT_SECONDS = 30.0
HOST = "The host of this page"
NOT_THE_HOSTS = ("open", "rate_limited", "hub_unreachable", "revision_missing")

# One sentence, and the next step.
WORDS: dict[Verdict, tuple[str, str]] = {
    "open": ("{title} is open: no token is needed.", ""),
    "ready": ("{who} may use {title}.", ""),
    "no_token": (
        "{title} is gated: the Hub gives it only to people who accepted its licence.",
        "Accept the licence at {url}, then use a Hugging Face token with read access.",
    ),
    "token_malformed": (
        "This is not a Hugging Face token.",
        "Copy it again from {tokens}; it begins with hf_.",
    ),
    "token_invalid": (
        "The Hub does not accept this token; it is wrong, revoked or expired.",
        "Make a new one at {new_token}.",
    ),
    "license_not_accepted": (
        "{who} has not been granted {title}: its licence is not accepted yet.",
        "Accept it at {url}, then check again.",
    ),
    "request_pending": (
        "The request of {who} for {title} is waiting for review.",
        "Check again once {url} says that it was granted.",
    ),
    "request_rejected": (
        "The request of {who} for {title} was rejected.",
        "Choose another model; Gemma 4 and the demo model are open.",
    ),
    "token_lacks_gated_scope": (
        "This fine-grained token may not read gated repositories.",
        "Allow “read access to public gated repos” at {tokens}, then check again.",
    ),
    "repo_missing": (
        "The Hub shows no repository {repo_id} to this visitor.",
        "Check the name, or use the token of an account that may see it.",
    ),
    "revision_missing": (
        "The repository {repo_id} has no branch or commit “{revision}”.",
        "Leave the revision out, or check it at {url}.",
    ),
    "rate_limited": (
        "The Hub answers no more questions for the moment.",
        "Check again in {wait}.",
    ),
    "hub_unreachable": (
        "The Hub cannot be reached, so access to {title} cannot be checked.",
        "Check the network, or use the demo model, which needs none.",
    ),
}
# The one page that helps.
PAGES: dict[Verdict, str] = {
    "ready": "url", "no_token": "url", "token_malformed": "tokens", "token_invalid": "new_token",
    "license_not_accepted": "url", "request_pending": "url", "request_rejected": "url",
    "token_lacks_gated_scope": "tokens", "revision_missing": "url",
}  # fmt: skip


def in_words(
    answer: Answer, repo_id: str, title: str, revision: str, who: str = ""
) -> AccessReport:
    seconds = max(1, round(answer.wait_seconds or DEFAULT_WAIT_SECONDS))
    facts = {
        "title": title,
        "repo_id": repo_id,
        "revision": revision,
        "who": who or "This account",
        "wait": "a second" if seconds == 1 else f"{seconds} seconds",
        "url": hub.repo_url(repo_id),
        "tokens": hub.tokens_url(),
        "new_token": hub.new_token_url(),
    }
    message, hint = (text.format(**facts) for text in WORDS[answer.verdict])
    if who == HOST and answer.verdict not in ("ready", *NOT_THE_HOSTS):
        hint = "Only the host can change that; choose another model."
    url = facts.get(PAGES.get(answer.verdict, ""), "")
    return AccessReport(verdict=answer.verdict, message=message, hint=hint, url=url)


def refusal(verdict: Verdict) -> AccessDeniedError:
    """What is wrong with a token, whatever it was to be used for."""
    told = in_words(Answer(verdict), "", "gated models", "")
    return AccessDeniedError(told.message, told.hint, verdict, told.url)
