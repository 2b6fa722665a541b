"""Access as words and HTML: the line about a model, the words in the list, who acts.

Pure functions; no Gradio, and nothing is asked. Knows how a verdict and an account read. Does not
know where they are shown, nor what a click on “Check again” does: it carries `data-check` for
whoever listens.
"""

from html import escape

from gemma_space import hub
from gemma_space.catalog import Checkpoint
from gemma_space.hub import Account
from gemma_space.reports import AccessReport, Verdict
from gemma_space.ui.present import linked, problem
from gemma_space.verdicts import refusal
from gemma_space.visitors import PASTED_SECONDS, Source

# In the list; what needs nobody's word reads there as it did before anybody was asked.
WORDS: dict[Verdict, str] = {
    "open": "",
    "ready": "Gated: you have access",
    "no_token": "Gated: needs a token",
    "token_malformed": "Not a token",
    "token_invalid": "Token not accepted",
    "license_not_accepted": "Gated: licence not accepted",
    "request_pending": "Gated: waiting for review",
    "request_rejected": "Gated: request rejected",
    "token_lacks_gated_scope": "Gated: token may not read gated models",
    "repo_missing": "Not found",
    "revision_missing": "Revision not found",
    "rate_limited": "Hub busy",
    "hub_unreachable": "Hub not reached",
}
# Time alone may change these.
WAITING: tuple[Verdict, ...] = ("request_pending", "rate_limited", "hub_unreachable")

KEPT_HOURS = f"{PASTED_SECONDS / 3600:.0f} hours"
# Whose token acts, with the account's name and without.
SOURCES: dict[Source, tuple[str, str]] = {
    "signed_in": ("Signed in as {name}.", "Signed in with Hugging Face."),
    "pasted": (
        f"Using the token of {{name}} that you pasted; this server forgets it within {KEPT_HOURS}.",
        f"Using the token that you pasted; this server forgets it within {KEPT_HOURS}.",
    ),
    "own_machine": (
        "Using this machine's own login ({name}); you are on the machine that serves this page.",
        "Using this machine's own login; you are on the machine that serves this page.",
    ),
    "none": ("", "No Hugging Face token. The demo model and Gemma 4 need none."),
}
LOOKING = '<p role="status">Looking…</p>'


# --- the line about a model ---------------------------------------------------------------------


def line(report: AccessReport) -> str:
    """May this visitor use the model, what would help, and a way to ask again."""
    kind = _kind(report.verdict)
    mark = {"yes": "✓", "no": "✕", "wait": "!"}[kind]
    hint = report.hint
    if not report.granted and report.url and report.url not in hint:
        hint = f"{hint} See {report.url}."
    told = f'<p class="access-hint">{linked(hint)}</p>' if hint else ""
    return (
        f'<div class="access access-{kind}"><div role="status">'
        f'<p class="access-said"><b aria-hidden="true">{mark}</b> {linked(report.message)}</p>'
        f"{told}</div>{_check_again() if may_change(report) else ''}</div>"
    )


def may_change(report: AccessReport) -> bool:
    """Whether asking again could bring another answer."""
    return report.verdict != "open"


def _check_again() -> str:
    return '<button type="button" class="pill" data-check>Check again</button>'


def _kind(verdict: Verdict) -> str:
    return "yes" if verdict in ("open", "ready") else "wait" if verdict in WAITING else "no"


# --- the words in the list ----------------------------------------------------------------------


def words(report: AccessReport) -> str:
    """The verdict in a few words, with the page that helps; empty where nothing is to be said."""
    return _short(
        _kind(report.verdict), WORDS[report.verdict], "" if report.granted else report.url
    )


def unasked(row: Checkpoint, has_token: bool) -> str:
    """What can be said without asking the Hub.

    Args:
        has_token: some token acts for the visitor here.
    """
    if row.is_local or not row.gated:
        where = "On this machine" if row.is_local else "On the host's server"
        return _short("yes", where if row.is_local or row.is_remote else "Open")
    if has_token:
        return _short("wait", "Gated")
    return _short("no", WORDS["no_token"], hub.repo_url(row.repo_id))


def _short(kind: str, text: str, url: str = "") -> str:
    if not text:
        return ""
    shown = escape(text)
    if url:
        shown = f'<a href="{escape(url)}" target="_blank" rel="noopener">{shown}</a>'
    return f'<span class="access-{kind}">{shown}</span>'


def summary(reports: dict[str, AccessReport]) -> str:
    """How many models may be used, one sentence."""
    granted = sum(report.granted for report in reports.values())
    return f"You can use {granted} of {len(reports)} models."


# --- who acts -----------------------------------------------------------------------------------


def who(source: Source, account: Account) -> str:
    """Whose token acts for the visitor, and what is wrong with it."""
    named, unnamed = SOURCES[source]
    text = named.format(name=account.name) if account.name and named else unnamed
    return f'<p role="status">{escape(text)}</p>{_trouble(account)}'


def _trouble(account: Account) -> str:
    if account.verdict in ("token_invalid", "token_malformed"):
        return problem(str(refusal(account.verdict)))
    if account.reads_gated is False:
        return f'<p class="access-wait">{linked(str(refusal("token_lacks_gated_scope")))}</p>'
    return ""


def how_kept() -> str:
    """Where a token comes from, and what becomes of one that is pasted."""
    link = f'<a href="{escape(hub.new_token_url())}" target="_blank" rel="noopener">'
    return (
        f"<p>{link}Make a token</a> that reads gated models and nothing else. Kept in this "
        f"server's memory only, for up to {KEPT_HOURS}; Forget removes it.</p>"
    )
