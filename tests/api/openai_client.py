"""The `openai` package as it is, at the running app; without its types, which forbid mistakes."""

from typing import Any

from openai import AsyncOpenAI, OpenAI

from tests.api.conftest import Served

OPTIONS: dict[str, Any] = {"max_retries": 0, "timeout": 60}
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}


def client(app: Served, key: str = "none") -> Any:
    return OpenAI(base_url=app.url + "v1", api_key=key, **OPTIONS)


def async_client(app: Served, key: str = "none") -> Any:
    return AsyncOpenAI(base_url=app.url + "v1", api_key=key, **OPTIONS)


def said(text: str) -> list[Any]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]
