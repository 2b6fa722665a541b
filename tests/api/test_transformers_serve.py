"""Against a real server of another make: `transformers serve` with the demo checkpoint."""

from collections.abc import Iterator

import pytest

from gemma_space.access import Access
from gemma_space.assets import DEMO_MODEL
from gemma_space.errors import InvalidControlError, ServerError
from gemma_space.playground import Playground
from gemma_space.remote.ability import NEUTRAL, NO_SCORES
from gemma_space.remote.playground import RemotePlayground
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.types import ChatRequest, CompletionRequest, Controls, Generation, Message
from tests.tiny_checkpoints import no_hub
from tests.transformers_serve import TransformersServe

DEMO = str(DEMO_MODEL)
QUESTION = (Message(role="user", content="What is Gemma?"),)
GREEDY = Controls(temperature=0, max_new_tokens=24)
# At this heat the demo hardly ever ends its turn.
ENDLESS = Controls(temperature=2.0, top_p=1.0, top_k=0, seed=1, max_new_tokens=1500)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransformersServe]:
    serve = TransformersServe(tmp_path_factory.mktemp("serve"))
    try:
        yield serve.start()
    finally:
        serve.kill()


@pytest.fixture(scope="module")
def remote(server: TransformersServe) -> RemotePlayground:
    settings = Settings(engine_url=(server.url,), models=(DEMO,))
    return RemotePlayground(Access(probe=no_hub), settings)


@pytest.fixture(scope="module")
def local() -> Playground:
    return Playground(served_checkpoints([DEMO]), Access(probe=no_hub), Settings())


def chat(playground: Playground, controls: Controls) -> Generation:
    request = ChatRequest(messages=QUESTION, model=DEMO, controls=controls)
    *_, last = playground.chat(request)
    assert isinstance(last, Generation)
    return last


def test_it_writes_what_this_machine_writes(remote: RemotePlayground, local: Playground) -> None:
    there, here = chat(remote, GREEDY), chat(local, GREEDY)
    assert there.text == here.text
    assert (there.finish_reason, there.prompt_tokens) == ("length", here.prompt_tokens)
    request = CompletionRequest(prompt="Gemma is", model=DEMO, controls=GREEDY, logprobs=3)
    *_, there = remote.complete(request)
    *_, here = local.complete(request)
    assert isinstance(there, Generation)
    assert isinstance(here, Generation)
    assert (there.text, there.prompt_tokens) == (here.text, here.prompt_tokens)
    assert NO_SCORES in there.notes


def test_its_abilities_are_found_out(remote: RemotePlayground) -> None:
    ability = remote.library.ability(remote.library.find(DEMO), 100)
    assert ability is not None
    assert ability.dialect == "generation_config"  # it refuses fields that OpenAI's API lacks
    assert {*NEUTRAL, "seed"} == ability.follows
    assert (ability.scores, ability.takes_ids, ability.continues) == (False, False, False)


def test_its_seed_is_followed(remote: RemotePlayground) -> None:
    warm = Controls(temperature=1.5, seed=11, max_new_tokens=12)
    assert chat(remote, warm).text == chat(remote, warm).text
    with pytest.raises(InvalidControlError, match="out of its range"):
        chat(remote, Controls(top_p=3.0))


def test_killed_in_the_middle_of_a_reply_it_is_found_again(
    server: TransformersServe, remote: RemotePlayground
) -> None:
    updates = remote.chat(ChatRequest(messages=QUESTION, model=DEMO, controls=ENDLESS))
    text = ""
    while not text:
        update = next(updates)
        text = update.text if isinstance(update, Generation) else ""
    server.freeze()
    server.kill()
    with pytest.raises(ServerError, match=r"connection to the server broke|broke the reply off"):
        list(updates)
    with pytest.raises(ServerError, match="does not answer"):
        chat(remote, GREEDY)
    server.start()
    assert chat(remote, GREEDY).completion_tokens == 24
