"""The endpoints about models: what there is, who may use it, loading.

A docstring here is the public documentation of its endpoint.
"""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from gradio.events import api as add_endpoint

from gemma_space.alerts import errors_shown
from gemma_space.api.callers import Callers
from gemma_space.public_json import as_json
from gemma_space.use_cases import UseCases
from gemma_space.visits import caller_of


def register_models(playground: UseCases, callers: Callers) -> None:
    """Add the endpoints about models."""
    library, token_of = playground.library, callers.token

    def models() -> list[dict[str, Any]]:
        """Every checkpoint served here, with what each precision needs on this machine."""
        with errors_shown():
            return [as_json(row) for row in library.rows()]

    def status(
        caller: gr.Request | None = None, oauth_token: gr.OAuthToken | None = None
    ) -> dict[str, Any]:
        """The device, its memory, the models loaded and the requests running or waiting."""
        with errors_shown():
            return as_json(library.status(token_of(caller, oauth_token)))

    def check_access(
        model: str = playground.default_model,
        caller: gr.Request | None = None,
        oauth_token: gr.OAuthToken | None = None,
    ) -> dict[str, Any]:
        """May you use this model; if not, what would help. Asks the Hub, downloads nothing.

        Args:
            model: repo id from /models.
        """
        with errors_shown():
            token = token_of(caller, oauth_token)
            return as_json(library.doctor.check(model, token, fresh=True))

    async def load(
        model: str = playground.default_model,
        precision: str = "auto",
        attention: str = "auto",
        caller: gr.Request | None = None,
        oauth_token: gr.OAuthToken | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Bring a model into memory, reporting phase, bytes and seconds; ends with phase "ready".

        Args:
            model: repo id from /models.
            precision: auto, fp32, bf16, fp16, int8 or int4.
            attention: auto, eager, sdpa or flash_attention_2, where the checkpoint has it.
        """
        async for progress in callers.stream(
            caller_of(caller, oauth_token),
            lambda: playground.load(model, precision, token_of(caller, oauth_token), attention),
        ):
            yield as_json(progress)

    def unload(
        model: str = playground.default_model,
        precision: str = "auto",
        caller: gr.Request | None = None,
        oauth_token: gr.OAuthToken | None = None,
    ) -> dict[str, Any]:
        """Give a model's memory back and return the status.

        Args:
            model: repo id from /models.
            precision: the one to unload; auto means all.
        """
        with errors_shown():
            return as_json(library.unload(model, precision, token_of(caller, oauth_token)))

    add_endpoint(models, api_name="models", concurrency_limit=None)
    add_endpoint(status, api_name="status", concurrency_limit=None)
    add_endpoint(check_access, api_name="check_access", concurrency_limit=None)
    add_endpoint(load, api_name="load", concurrency_limit=None)
    add_endpoint(unload, api_name="unload", concurrency_limit=None)
