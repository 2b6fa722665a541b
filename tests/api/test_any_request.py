"""Whatever JSON a caller sends: a result, or an error in words that JSON can carry, never more.

The public functions themselves, without the way to them: hundreds of requests in seconds.
"""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import gradio as gr
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_space import api
from gemma_space.access import Access
from gemma_space.admission import Admission
from gemma_space.api.callers import Callers
from gemma_space.controls import CONTROLS
from gemma_space.observed import Observed
from gemma_space.playground import Playground
from gemma_space.settings import Settings
from gemma_space.shares import Shares
from gemma_space.shelf import served_checkpoints
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub

HALF = "\ud83e"  # half a character, as JSON can write one
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8) | st.sampled_from(
    [
        "",
        "Hi",
        HALF,
        "\0",
        "auto",
        "fp32",
        "as served",
        "system",
        "google/gemma-3-1b-it",
        "/etc",
        "~",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
    | st.sampled_from([10**400, -1, 2**63, 1e308, "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]) | JSON},
    optional={"content": TEXTS | JSON | st.lists(
        st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS | JSON}), max_size=2
    )},
)  # fmt: skip
# Closer to what is meant than any JSON: so that what is behind the first check is reached too.
NEARLY: dict[str, st.SearchStrategy[Any]] = {
    **{c.name: st.floats(c.minimum, c.maximum) | st.integers(0, 3) for c in CONTROLS},
    "seed": st.integers(-1, 2**33),
    "stop": st.lists(TEXTS, max_size=3) | TEXTS,
    "history": st.lists(MESSAGE, max_size=4),
    "messages": st.lists(MESSAGE, max_size=4),
    "logprobs": st.integers(-1, 21),
    "top": st.integers(-1, 21),
}
NEEDED = {
    "chat": {"message": "Hi"}, "generate": {"prompt": "Hi"}, "score": {"text": "Hi there"},
    "tokenize": {"text": "Hi"}, "render_chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "load": {}, "unload": {}, "check_access": {},
}  # fmt: skip
OF_GRADIO = ("caller", "oauth_token")


@pytest.fixture(scope="module")
def endpoints(checkpoints: Checkpoints) -> Iterator[dict[str, Any]]:
    """The public functions by name, on one tiny model that writes three tokens at most."""
    rows = served_checkpoints([str(checkpoints.folder(tiny.GEMMA_1))])
    chosen = Settings(max_new_tokens=3, allow_any_gemma=False)
    playground = Playground(rows, Access(probe=no_hub), chosen)
    with gr.Blocks() as page:
        through = Observed(playground, "api", Admission(16, 64), Shares(), [])
        api.register(through, Callers(through))
    yield {str(fn.api_name): fn.fn for fn in page.fns.values()}
    assert playground.library.status().queue == 0
    assert all(row.leases == 0 for row in playground.library.status().loaded)


def answers(endpoint: Any, arguments: dict[str, Any]) -> list[Any]:
    """Everything a call gives, an error's words included."""

    async def call() -> list[Any]:
        try:
            if inspect.isasyncgenfunction(endpoint):
                return [update async for update in endpoint(**arguments)]
            given = endpoint(**arguments)
            return [await given if inspect.isawaitable(given) else given]
        except gr.Error as error:
            words = str(error.message)
            assert "reference" not in words, words
            assert len(words) < 500
            return [words]

    return asyncio.run(call())


def asked(endpoint: Any, name: str, arguments: dict[str, Any]) -> None:
    for answer in answers(endpoint, {**NEEDED[name], **arguments}):
        orjson.dumps(answer)  # as Gradio does


def parameters_of(endpoint: Any) -> list[str]:
    return [name for name in inspect.signature(endpoint).parameters if name not in OF_GRADIO]


@pytest.mark.parametrize("name", NEEDED)
@settings(max_examples=30)
@given(data=st.data())
def test_any_json_is_answered(endpoints: dict[str, Any], name: str, data: st.DataObject) -> None:
    parameters = st.sampled_from(parameters_of(endpoints[name]))
    chosen = data.draw(st.lists(parameters, min_size=1, max_size=3, unique=True))
    arguments = {p: data.draw(NEARLY.get(p, TEXTS) | JSON, label=p) for p in chosen}
    asked(endpoints[name], name, arguments)


@pytest.mark.parametrize("name", NEEDED)
def test_half_a_character_is_answered_wherever_it_stands(
    endpoints: dict[str, Any], name: str
) -> None:
    for parameter in parameters_of(endpoints[name]):
        for value in (HALF, [HALF], [{"role": HALF, "content": HALF}]):
            asked(endpoints[name], name, {parameter: value})
