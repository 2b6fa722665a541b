"""A canary token goes every way a token can go; then everything it might have touched is searched.

The real app in a process of its own, logging all that it can, with every folder it may write in a
place of this test; a real browser; a Hub that knows the canary, so that it is really used.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import BrowserContext, expect

from tests import stand_in_hub
from tests import tiny_checkpoints as tiny
from tests.browser.access_page import AccessPage
from tests.browser.chat_page import ChatPage
from tests.browser.test_conversations import downloaded
from tests.running_app import ROOT, App, running
from tests.tiny_checkpoints import Checkpoints

GATED = "google/gemma-3-270m-it"
PASTED, CALLED, OWN = (
    "hf_canaryPastedAAAA0001",
    "hf_canaryCalledBBBB0002",
    "hf_canaryOwnCCCCCCC0003",
)
REFUSED = "hf_canaryRefusedDDDD0004"
MALFORMED = 'hf_canaryMalformed EEEE0005"'
# Every spelling in which one of them would still be one: half of it is enough to be found.
CANARIES = ("canaryPasted", "canaryCalled", "canaryOwn", "canaryRefused", "canaryMalformed",
            stand_in_hub.SIGNATURE)  # fmt: skip


@pytest.fixture(scope="module")
def app(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with stand_in_hub.serve() as hub:
        hub.add(GATED, checkpoints.folder(tiny.GEMMA_3), gated=True)
        hub.granted |= {PASTED, CALLED, OWN}
        hub.accounts[PASTED] = "paula"
        home = tmp_path_factory.mktemp("leaks") / "home"
        with running(home, hub, HF_TOKEN=OWN) as served:
            yield served


@pytest.fixture
def open_page(
    app: App, new_context: Callable[..., BrowserContext]
) -> Callable[[], tuple[ChatPage, AccessPage]]:
    def open_() -> tuple[ChatPage, AccessPage]:
        chat = ChatPage(new_context(accept_downloads=True).new_page(), app.url).open()
        return chat, AccessPage(chat)

    return open_


def used(app: App, token: str) -> bool:
    """Whether the Hub saw it: otherwise there was nothing to leak."""
    return any(seen == token for _, _, seen in app.hub.requests)


def assert_nowhere(app: App) -> None:
    config = httpx.get(app.url + "config").text
    info = httpx.get(app.url + "gradio_api/info").text
    page = httpx.get(app.url).text
    for name in CANARIES:
        for text in (config, info, page):
            assert name not in text
    assert app.holds(CANARIES) == []


# --- the page ------------------------------------------------------------------------------------


def test_what_is_pasted_is_used_and_found_nowhere(
    app: App,
    open_page: Callable[[], tuple[ChatPage, AccessPage]],
) -> None:
    """Not in the box, history, deep links, state, storage, errors or exports."""
    chat, access = open_page()
    page = chat.page
    for bad in (MALFORMED, REFUSED):
        app.hub.granted.discard(bad)
        access.paste(bad)
        expect(access.said).to_contain_text("token")
    access.paste(PASTED)
    expect(access.who).to_contain_text("paula")
    chat.choose_model("Gemma 3 270M Instruct")
    expect(access.line).to_contain_text("may use", timeout=30_000)
    chat.ask("Hi there")
    assert used(app, PASTED)
    kept = access.keeps()
    texts = [kept, json.dumps(page.context.storage_state())]
    texts += [downloaded(chat, f"Export {kind}")[1] for kind in ("JSON", "Markdown")]
    for name in CANARIES:
        for text in texts:
            assert name not in text, name
    cookie = next(c for c in page.context.cookies() if c.get("name") == "gemma_space_visitor")
    assert cookie.get("httpOnly")
    assert cookie.get("value", "") not in kept, "scripts cannot read who the browser is"
    session = page.evaluate("() => window.gradio_config?.session_hash ?? ''")
    for method in ("GET", "POST"):
        asked = httpx.request(method, app.url + f"gradio_api/deep_link?session_hash={session}")
        assert asked.status_code == 404, "nothing writes what the fields hold"
    access.forget.click()
    expect(access.who).not_to_contain_text("paula")
    assert_nowhere(app)


def test_a_browser_without_the_cookie_gets_nothing_of_another(
    app: App, open_page: Callable[[], tuple[ChatPage, AccessPage]]
) -> None:
    _, alice = open_page()
    alice.paste(PASTED)
    expect(alice.who).to_contain_text("paula")
    _, bob = open_page()
    expect(bob.who).not_to_contain_text("Looking")
    expect(bob.who).not_to_contain_text("paula")
    alice.page.reload()
    expect(alice.who).to_contain_text("paula")


# --- the API -------------------------------------------------------------------------------------


def test_a_callers_token_is_used_and_found_nowhere(app: App) -> None:
    client = Client(app.url, verbose=False, oauth_token=CALLED)
    told = client.predict(model=GATED, api_name="/check_access")
    assert told["verdict"] == "ready"
    job: Any = client.submit(message="Hi", model=GATED, max_new_tokens=2, api_name="/chat")
    *_, last = job
    assert last["finish_reason"]
    assert CALLED not in json.dumps(last)
    assert used(app, CALLED)
    refused = Client(app.url, verbose=False, oauth_token=REFUSED)
    with pytest.raises(AppError) as caught:
        refused.predict(message="Hi", model=GATED, api_name="/chat")
    assert "canary" not in str(caught.value)
    malformed = Client(app.url, verbose=False, oauth_token=MALFORMED)
    with pytest.raises(AppError, match="not a Hugging Face token") as caught:
        malformed.predict(message="Hi", model=GATED, api_name="/chat")
    assert "canary" not in str(caught.value)
    assert_nowhere(app)


def test_answers_to_nonsense_quote_nothing(app: App) -> None:
    """Traceback pages and error bodies, for requests that are broken on purpose."""
    asked = (
        ("POST", "gradio_api/call/v2/chat", b'{"message": "hf_canaryPastedAAAA0001", '),
        ("POST", "gradio_api/queue/join", b'{"fn_index": 99999, "data": ["x"]}'),
        ("GET", "gradio_api/queue/data?session_hash=hf_canaryPastedAAAA0001", b""),
        ("GET", "no/such/page?token=hf_canaryPastedAAAA0001", b""),
        ("POST", "gradio_api/run/predict", b"\xff\xfe"),
    )
    for method, path, body in asked:
        endless = path.startswith("gradio_api/queue/data")
        headers = {"Authorization": f"Bearer {PASTED}", "Content-Type": "application/json"}
        with httpx.stream(
            method, app.url + path, content=body, headers=headers, timeout=5 if endless else 60
        ) as answer:
            text = b"".join(_first(answer)).decode(errors="replace")
        assert "Traceback" not in text
        assert str(ROOT) not in text
    assert_nowhere(app)


def _first(answer: httpx.Response, nbytes: int = 20_000) -> Iterator[bytes]:
    """The beginning of an answer that may never end."""
    count = 0
    try:
        for piece in answer.iter_bytes():
            yield piece
            count += len(piece)
            if count > nbytes:
                return
    except (httpx.ReadTimeout, httpx.RemoteProtocolError):
        return


# --- the deployer's own --------------------------------------------------------------------------


def test_the_deployers_token_serves_them_here_and_leaks_nowhere(app: App) -> None:
    """On their own machine, through no proxy: the one place where it acts unasked."""
    told = Client(app.url, verbose=False).predict(model=GATED, api_name="/check_access")
    assert told["verdict"] == "ready"
    assert used(app, OWN)
    forwarded = Client(app.url, verbose=False, headers={"X-Forwarded-For": "203.0.113.9"})
    told = forwarded.predict(model=GATED, api_name="/check_access")
    assert told["verdict"] == "no_token"
    assert_nowhere(app)


def test_the_search_finds_what_it_looks_for(app: App) -> None:
    """A test that cannot fail is none."""
    planted = app.home / "gradio" / "state.json"
    planted.write_text(f'"{PASTED}"', encoding="utf-8")
    try:
        assert app.holds(CANARIES) == [f"{planted}: canaryPasted"]
    finally:
        planted.unlink()
