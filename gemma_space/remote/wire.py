"""What goes over the wire to an OpenAI-compatible server, and how its refusals read.

Knows addresses, the key, three routes and when a stream must be let go. One thread holds all
connections, so that whoever closes a stream ends it at once, even while nothing comes. Does not
know what a request means: `wording` writes it, and `answers` reads what comes back.
"""

import asyncio
import json
import logging
import queue
import ssl
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import is_dataclass
from functools import cache
from typing import Any, TypeVar

import httpx2
from huggingface_hub import AsyncInferenceClient, get_async_session, set_async_client_factory
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, TextGenerationError

from gemma_space.errors import ServerError
from gemma_space.redaction import redacted

T = TypeVar("T")
Answer = Mapping[str, Any]

CONNECT_SECONDS = 5.0
LIST_SECONDS = 10.0
SILENCE_SECONDS = 300.0  # a server may have to load the model first, or to read a long prompt
TICK_SECONDS = 0.1
NO_KEY = "EMPTY"  # never nothing: the client would send the deployer's own Hub token in its place
MAX_QUOTE = 300
NO_ANSWER = ServerError(
    "The server does not answer.",
    "Your text is kept. Try again in a moment; whoever runs the server can see whether it is up.",
    elsewhere=True, down=True,
)  # fmt: skip
SENT_ELSEWHERE = ServerError(
    "The server sends its requests to another address, where your text was not sent.",
    "Whoever runs the playground sets GEMMA_SPACE_ENGINE_URL to the address that answers.",
    elsewhere=True, down=True,
)  # fmt: skip
log = logging.getLogger(__name__)


@cache
def _certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()  # takes longer than a request to a server nearby


async def _stay(response: httpx2.Response) -> None:
    """Follow a server to its own https or another path, and nowhere else with somebody's text."""
    if not response.has_redirect_location:
        return
    before = response.request.url
    after = before.join(response.headers["location"])
    secured = before.scheme == "http" and after.scheme == "https"
    same = (before.scheme, before.port) == (after.scheme, after.port)
    if before.host != after.host or not (same or secured):
        raise SENT_ELSEWHERE


async def _read_refusal(response: httpx2.Response) -> None:
    if response.status_code >= 400:
        await response.aread()  # of a stream it would not be read any more


def _client() -> httpx2.AsyncClient:
    """The library's client, but not for the Hub: it works offline, and reads refusals."""
    return httpx2.AsyncClient(
        verify=_certificates(),
        event_hooks={"response": [_stay, _read_refusal]},
        follow_redirects=True,
        timeout=None,
    )


set_async_client_factory(_client)


class Wire:
    """The connections to all servers.

    Args:
        key: sent as the bearer token to every one of them; None for none.
    """

    def __init__(self, key: str | None = None) -> None:
        self._key = key
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="remote", daemon=True).start()

    def models(self, urls: Sequence[str]) -> list[list[Answer] | ServerError]:
        """Ask every server at once what it serves; its entries, or why it did not say."""

        async def ask() -> list[list[Answer] | ServerError]:
            return list(await asyncio.gather(*(self._models(url) for url in urls)))

        return self._wait(ask())

    def chat(
        self, url: str, model: str, messages: Sequence[dict[str, str]], body: Mapping[str, Any]
    ) -> Generator[Answer | None]:
        """Stream a chat completion; None stands for a moment in which nothing came.

        Raises:
            ServerError: in words.
        """
        return self._pull(self._chat(url, model, messages, body))

    def complete(self, url: str, body: Mapping[str, Any]) -> Generator[Answer | None]:
        """Stream a raw completion, of which `InferenceClient` has none in OpenAI's form."""
        return self._pull(self._complete(url, body))

    # --- on the thread of the connections ---------------------------------------------------------

    async def _models(self, url: str) -> list[Answer] | ServerError:
        try:
            async with get_async_session() as session:
                response = await session.get(
                    f"{url}/v1/models", headers=self._headers(), timeout=LIST_SECONDS
                )
                if response.status_code >= 400:
                    return refusal(response.status_code, response.text)
                listed = response.json().get("data")
                return [item for item in listed if isinstance(item, dict)]
        except (ServerError, httpx2.HTTPError, ValueError, AttributeError, TypeError) as error:
            return in_words(error)

    async def _chat(
        self, url: str, model: str, messages: Sequence[dict[str, str]], body: Mapping[str, Any]
    ) -> AsyncGenerator[Answer]:
        timeout: Any = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        async with AsyncInferenceClient(
            base_url=url, api_key=self._key or NO_KEY, timeout=timeout
        ) as client:
            stream = await client.chat_completion(
                list(messages), model=model, stream=True, extra_body=dict(body)
            )
            async for chunk in stream:
                yield _plain(chunk)

    async def _complete(self, url: str, body: Mapping[str, Any]) -> AsyncGenerator[Answer]:
        timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        async with (
            get_async_session() as session,
            session.stream(
                "POST", f"{url}/v1/completions", json={**body, "stream": True},
                headers=self._headers(), timeout=timeout,
            ) as response,
        ):  # fmt: skip
            if response.status_code >= 400:
                raise refusal(response.status_code, response.text)
            async for line in response.aiter_lines():
                told = line.strip().removeprefix("data:").strip()
                if told == "[DONE]":
                    return
                if line.startswith("data:") and told:
                    yield _told(json.loads(told))

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._key or NO_KEY}"}

    # --- from any other thread --------------------------------------------------------------------

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _pull(self, source: AsyncGenerator[Answer]) -> Generator[Answer | None]:
        news: queue.SimpleQueue[Answer | BaseException | None] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                async with aclosing(source) as items:
                    async for item in items:
                        news.put(item)
                news.put(None)
            except BaseException as error:
                news.put(error)
                if not isinstance(error, Exception):
                    raise

        task = asyncio.run_coroutine_threadsafe(pump(), self._loop)
        try:
            while True:
                try:
                    item = news.get(timeout=TICK_SECONDS)
                except queue.Empty:
                    yield None
                    continue
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise in_words(item) from None
                yield item
        finally:
            task.cancel()  # closes the connection, which is how a server knows


def _plain(value: Any) -> Any:
    """The client's classes as plain JSON; as dicts they forget what servers add to OpenAI's."""
    if is_dataclass(value):
        return {name: _plain(item) for name, item in vars(value).items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _told(data: Any) -> Answer:
    """One message of a stream; some servers tell an error in it, after a good beginning."""
    if not isinstance(data, dict):
        raise ValueError("not an object")
    if data.get("error") is not None:
        raise refusal(0, json.dumps(data))
    return data


def in_words(error: BaseException) -> ServerError:
    """What a request ended with, as a sentence."""
    if isinstance(error, ServerError):
        return error
    if isinstance(error, HfHubHTTPError):
        return refusal(error.response.status_code, error.response.text)
    if isinstance(error, TextGenerationError):
        return refusal(0, str(error))
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return NO_ANSWER
    if isinstance(error, httpx2.TimeoutException | InferenceTimeoutError):
        return ServerError(
            "The server was silent for too long.",
            "Try again, or with a shorter prompt; it may be busy or still loading the model.",
            elsewhere=True, down=True,
        )  # fmt: skip
    if isinstance(error, httpx2.TransportError):
        return ServerError(
            "The connection to the server broke.",
            "Try again; the next request goes to another server where there is one.",
            elsewhere=True, down=True,
        )  # fmt: skip
    log.warning("a server's answer cannot be read (%s)", type(error).__name__)
    return ServerError(
        "The server's answer cannot be read.",
        "GEMMA_SPACE_ENGINE_URL must lead to an OpenAI-compatible server.",
        elsewhere=True,
    )  # fmt: skip


def refusal(status: int, body: str) -> ServerError:
    """A status and what came with it, as a sentence with a next step; 0 is amid a stream."""
    said = quote(body)
    because = f" It says: {said}" if said else ""
    if status in (401, 403):
        return ServerError(
            "The server does not accept this playground's key.",
            "Whoever runs the playground sets GEMMA_SPACE_ENGINE_KEY.", elsewhere=True, down=True,
        )  # fmt: skip
    if status == 404:
        return ServerError(
            f"The server does not have this model or this route (404).{because}",
            "Choose another model, or ask whoever runs the server.", elsewhere=True, rejected=True,
        )  # fmt: skip
    if status in (429, 503):
        return ServerError(
            f"The server is busy ({status}).{because}", "Try again in a moment.", elsewhere=True,
            down=status == 503,
        )  # fmt: skip
    if status >= 500 or not status:
        code = f" ({status})" if status else ""
        return ServerError(
            f"The server failed while generating{code}.{because}",
            "Try again; its log has the details.", elsewhere=True,
        )  # fmt: skip
    return ServerError(
        f"The server refuses this request ({status}).{because}",
        "Change what it names, or shorten the text.", rejected=True,
    )  # fmt: skip


def quote(body: str) -> str:
    """The sentence in an error's body, whatever the server's way of wrapping it."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        found = body
    for _ in range(3):
        if isinstance(found, list) and found:  # pydantic's own
            found = found[0]
        if isinstance(found, Mapping):
            found = next(
                (found[name] for name in ("error", "message", "detail", "msg") if found.get(name)),
                "",
            )
    text = " ".join(str(found).split()) if isinstance(found, str) else ""
    if text.startswith("<"):  # some proxy's page
        return ""
    if len(text) > MAX_QUOTE:
        text = f"{text[:MAX_QUOTE]}…"
    return redacted(text if not text or text.endswith((".", "…", "!", "?")) else f"{text}.")
