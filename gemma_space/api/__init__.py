"""The public API: the use cases as named Gradio endpoints.

Knows the shapes that clients rely on and nothing else. A caller's Hugging Face token travels by
Gradio's own convention (`Client(url, oauth_token="hf_...")`) and is never an ordinary parameter.
"""

from gemma_space.api.callers import Callers
from gemma_space.api.models import register_models
from gemma_space.api.text import register_generation, register_tokens
from gemma_space.use_cases import UseCases


def register(playground: UseCases, callers: Callers) -> None:
    """Add the endpoints to the `gr.Blocks` being built."""
    register_models(playground, callers)
    register_generation(playground, callers)
    register_tokens(playground, callers)
