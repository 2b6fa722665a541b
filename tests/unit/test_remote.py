"""Replies from other servers: what is sent, what comes back, what cannot be had there."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest

from gemma_space.access import Access
from gemma_space.assets import DEMO_MODEL
from gemma_space.errors import (
    GemmaSpaceError,
    InvalidControlError,
    InvalidRequestError,
    ModelNotFoundError,
    PrecisionUnsupportedError,
    ServerError,
    SettingsError,
)
from gemma_space.public_json import generation_json
from gemma_space.remote.ability import NEUTRAL, NO_SCORES, NO_SEED
from gemma_space.remote.asking import EOS_FOLLOWED
from gemma_space.remote.playground import RemotePlayground
from gemma_space.reports import LoadProgress
from gemma_space.settings import Settings
from gemma_space.types import (
    ChatRequest,
    CompletionRequest,
    Controls,
    Generation,
    Message,
    Precision,
    ScoreRequest,
)
from tests import stand_in_server
from tests.stand_in_server import EVERYTHING, StandInServer, standing_in
from tests.tiny_checkpoints import no_hub

MODEL = "stand/in"
HELLO = (Message(role="user", content="Hello"),)
USUAL: dict[str, Any] = {"max_new_tokens": 20, "seed": 5}


@pytest.fixture
def server() -> Iterator[StandInServer]:
    with standing_in(StandInServer()) as stand_in:
        yield stand_in


def playground_on(*servers: StandInServer | str, **settings: Any) -> RemotePlayground:
    urls = tuple(s if isinstance(s, str) else s.url for s in servers)
    return RemotePlayground(Access(probe=no_hub), Settings(engine_url=urls, **settings))


def chat(
    playground: RemotePlayground, model: str = MODEL, *, controls: Any = None, **more: Any
) -> Generation:
    request = ChatRequest(
        messages=HELLO, model=model, controls=Controls(**{**USUAL, **(controls or {})}), **more
    )
    return last(playground.chat(request))


def complete(playground: RemotePlayground, prompt: str = "Once", **more: Any) -> Generation:
    controls = Controls(**{**USUAL, **more.pop("controls", {})})
    return last(playground.complete(
        CompletionRequest(prompt=prompt, model=MODEL, controls=controls, **more)
    ))  # fmt: skip


def last(updates: Iterator[Any]) -> Generation:
    found = [update for update in updates if isinstance(update, Generation)]
    assert all(later.text.startswith(earlier.text) for earlier, later in pairwise(found))
    return found[-1]


# --- a reply ------------------------------------------------------------------------------------


def test_a_reply_has_the_servers_text_and_counts(server: StandInServer) -> None:
    reply = chat(playground_on(server), system_prompt="Be brief.")
    assert reply.text == "".join(server.reply({"seed": 5})[:8])
    assert (reply.finish_reason, reply.seed, reply.notes) == ("stop", 5, ())
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (13, 8, 2)
    assert (reply.model, reply.precision) == (MODEL, "as served")
    assert reply.ttft_seconds is not None
    assert reply.tokens_per_second is not None
    (asked,) = server.asked()
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}
    ]  # fmt: skip


def test_every_control_goes_to_the_server_even_at_rest(server: StandInServer) -> None:
    chat(playground_on(server))
    (asked,) = server.asked()
    assert {name: asked[name] for name in NEUTRAL} == NEUTRAL
    assert (asked["max_tokens"], asked["seed"]) == (20, 5)


def test_the_same_seed_gives_the_same_reply(server: StandInServer) -> None:
    playground = playground_on(server)
    one, same, other = (chat(playground, controls={"seed": s}).text for s in (1, 1, 2))
    assert one == same != other


def test_thoughts_stay_apart(server: StandInServer) -> None:
    server.thoughts = "Let me see."
    reply = chat(playground_on(server))
    assert reply.thinking == "Let me see."
    assert "see" not in reply.text


@pytest.mark.parametrize("known_to_server", [True, False])
def test_a_stop_string_is_met_and_not_shown(server: StandInServer, known_to_server: bool) -> None:
    if not known_to_server:  # it goes on, and is hung up on
        server.follows -= {"stop"}
    reply = chat(playground_on(server), controls={"temperature": 0, "stop": ("wo on",)})
    assert (reply.text, reply.finish_reason) == ("one t", "stop_string")


def test_the_token_limit_is_told(server: StandInServer) -> None:
    reply = chat(playground_on(server), controls={"max_new_tokens": 3})
    assert (reply.finish_reason, reply.completion_tokens) == ("length", 3)


def test_the_time_limit_ends_a_reply(server: StandInServer) -> None:
    server.gate.clear()
    server.bodies.clear()
    playground = playground_on(server, max_time=1e-6)
    server.gate.set()
    reply = chat(playground)
    assert reply.finish_reason == "time_limit"


def test_a_reply_goes_on_where_the_server_can(server: StandInServer) -> None:
    reply = chat(playground_on(server), reply_prefix="So far ")
    assert reply.text.startswith("So far ")
    (asked,) = server.asked()
    assert asked["messages"][-1] == {"role": "assistant", "content": "So far "}
    assert asked["continue_final_message"] is True
    server.follows -= {"continue"}
    with pytest.raises(InvalidRequestError, match="cannot go on"):
        chat(playground_on(server), reply_prefix="So far ")


# --- a raw prompt -------------------------------------------------------------------------------


def test_a_completion_has_the_servers_scores(server: StandInServer) -> None:
    reply = complete(playground_on(server), logprobs=3)
    assert "".join(piece.text for piece in reply.tokens) == reply.text
    assert {len(piece.top) for piece in reply.tokens} == {3}
    wire = generation_json(reply, with_tokens=True)
    first = wire["tokens"][0]
    assert (first["id"], first["entropy"], first["logprob"]) == (None, None, -0.25)
    assert json.dumps(wire)


def test_a_server_without_scores_is_said_to_have_none(server: StandInServer) -> None:
    server.follows -= {"logprobs"}
    playground = playground_on(server)
    reply = complete(playground, logprobs=3)
    assert reply.tokens == ()
    assert NO_SCORES in reply.notes
    lacks = playground.library.fit(playground.library.find(MODEL), Precision.AUTO).lacks
    assert any("Probabilities" in sentence for sentence in lacks)


def test_one_bos_at_most(server: StandInServer) -> None:
    complete(playground_on(server), "<bos>Once")
    complete(playground_on(server), "Once", add_bos=False)
    with_bos, without = server.asked()
    assert (with_bos["prompt"], with_bos["add_special_tokens"]) == ("Once", True)
    assert (without["prompt"], without["add_special_tokens"]) == ("Once", False)
    server.follows -= {"bos", "ids"}
    with pytest.raises(InvalidRequestError, match="leave the BOS out"):
        complete(playground_on(server), "Once", add_bos=False)


def test_ids_go_as_they_are_or_not_at_all(server: StandInServer) -> None:
    reply = complete(playground_on(server), token_ids=(2, 7, 9))
    assert (server.asked()[0]["prompt"], reply.prompt_ids) == ([2, 7, 9], (2, 7, 9))
    server.follows -= {"ids"}
    with pytest.raises(InvalidRequestError, match="takes no token ids"):
        complete(playground_on(server), token_ids=(2, 7, 9))
    with pytest.raises(InvalidRequestError, match="reads control tokens"):
        complete(playground_on(server), "<start_of_turn>", parse_special=False)


def test_text_that_must_stay_text_goes_as_ids_where_the_tokenizer_is_known(
    server: StandInServer,
) -> None:
    server.models = [{"id": MODEL, "root": "gemma-space/demo"}]
    reply = complete(playground_on(server), "<start_of_turn>", parse_special=False)
    (asked,) = server.asked()
    assert asked["prompt"] == list(reply.prompt_ids)
    assert len(reply.prompt_ids) > 2
    assert 105 not in reply.prompt_ids


# --- what a server ignores ----------------------------------------------------------------------


AWAY = {"top_p": 0.5, "top_k": 3, "min_p": 0.2, "typical_p": 0.5, "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2}  # fmt: skip


@pytest.mark.parametrize("name", AWAY)
def test_a_control_that_the_server_ignores_is_refused(server: StandInServer, name: str) -> None:
    assert chat(playground_on(server), controls=AWAY).finish_reason == "stop"
    server.follows -= {name}
    playground = playground_on(server)
    with pytest.raises(InvalidControlError, match=f"^{name} is .* did not follow"):
        chat(playground, controls={name: AWAY[name]})
    rest = {other: value for other, value in AWAY.items() if other != name}
    assert chat(playground, controls=rest).finish_reason == "stop"
    assert playground.library.unfollowed(playground.library.find(MODEL)) == (name,)


def test_a_server_that_always_answers_alike_follows_nothing(server: StandInServer) -> None:
    server.follows = frozenset({"usage", "seed"}) - {"seed"}
    playground = playground_on(server)
    assert set(playground.library.unfollowed(playground.library.find(MODEL))) == set(NEUTRAL)
    with pytest.raises(InvalidControlError, match="temperature is 0, but"):
        chat(playground, controls={"temperature": 0})


def test_a_seed_that_is_not_followed_is_told(server: StandInServer) -> None:
    server.follows -= {"seed"}
    reply = chat(playground_on(server))
    assert NO_SEED in reply.notes


def test_a_server_that_ends_the_turn_all_the_same_is_found_out(server: StandInServer) -> None:
    playground = playground_on(server)
    assert chat(playground, controls={"ignore_eos": True}).finish_reason == "length"
    server.follows -= {"ignore_eos"}
    assert EOS_FOLLOWED in chat(playground, controls={"ignore_eos": True}).notes


def test_a_server_that_counts_nothing_is_counted_by_its_pieces(server: StandInServer) -> None:
    server.follows -= {"usage"}
    reply = chat(playground_on(server))
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 8)
    assert any("does not count" in note for note in reply.notes)


def test_a_strict_server_gets_no_field_it_does_not_know(server: StandInServer) -> None:
    server.strict = True
    playground = playground_on(server)
    assert chat(playground, controls={"temperature": 0}).text.startswith("one two")
    with pytest.raises(InvalidControlError, match="top_k"):
        chat(playground, controls={"top_k": 3})


def test_each_model_is_tried_once(server: StandInServer) -> None:
    playground = playground_on(server)
    first = [type(u) for u in playground.chat(ChatRequest(messages=HELLO, model=MODEL))]
    tried = len(server.bodies)
    assert LoadProgress in first
    again = [type(u) for u in playground.chat(ChatRequest(messages=HELLO, model=MODEL))]
    assert LoadProgress not in again
    assert len(server.bodies) == tried + 1
    assert tried < 30


# --- what cannot be had at all --------------------------------------------------------------------


def test_what_needs_the_weights_is_refused_in_words(server: StandInServer) -> None:
    playground = playground_on(server)
    with pytest.raises(InvalidRequestError, match="only be scored where the weights are"):
        list(playground.score(ScoreRequest(text="Hello", model=MODEL)))
    with pytest.raises(InvalidRequestError, match="which keeps it for everybody"):
        playground.library.unload(MODEL)
    with pytest.raises(PrecisionUnsupportedError, match="server that has the weights decides"):
        chat(playground, precision=Precision.BF16)
    with pytest.raises(InvalidRequestError, match="tokenizer is not known here"):
        playground.tokenize("Hello", MODEL)


def test_tokens_and_templates_are_those_of_the_checkpoint(server: StandInServer) -> None:
    server.models = [{"id": "my-name", "root": "gemma-space/demo", "max_model_len": 512}]
    playground = playground_on(server)
    assert [t.text for t in playground.tokenize("Hello", "my-name").tokens] == ["Hello"]
    rendered = playground.render_chat(HELLO, "my-name")
    assert rendered.bos_count == 1
    assert "applies its own template" in rendered.notes[0]
    row = playground.library.find("my-name")
    assert (row.title, row.context_length, row.gated) == ("Gemma Space Demo", 512, False)


# --- which models -------------------------------------------------------------------------------


def test_the_choices_are_what_the_servers_list() -> None:
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(standing_in(StandInServer(models=[{"id": n} for n in names])))
            for names in (("google/gemma-3-1b-it", "both"), ("both", "other/thing"))
        )
        playground = playground_on(one, two)
        rows = playground.library.rows()
        assert [row.repo_id for row in rows] == ["google/gemma-3-1b-it", "both", "other/thing"]
        assert rows[0].parameters == 999_885_952
        assert not rows[0].gated
        assert {row.loaded for row in rows} == {("as served",)}
        assert chat(playground, "other/thing").text
        assert two.asked()
        assert not one.asked()
        only = playground_on(one, two, models=("both",))
        assert [row.repo_id for row in only.library.rows()] == ["both"]
        with pytest.raises(ModelNotFoundError, match="No server lists a model “other/thing”"):
            only.library.find("other/thing")


@pytest.mark.parametrize("models", [None, []])
def test_a_server_that_lists_nothing_serves_what_is_named(models: list[Any] | None) -> None:
    folder = str(DEMO_MODEL)
    with standing_in(StandInServer(models=models)) as server:
        playground = playground_on(server, models=(folder,))
        assert chat(playground, folder).finish_reason == "stop"
        assert server.asked()[0]["model"] == folder
        assert playground.tokenize("Hello", folder).tokens
        with pytest.raises(SettingsError, match="answers and lists a model"):
            playground_on(server)


def test_the_status_tells_of_the_servers(server: StandInServer) -> None:
    playground = playground_on(server, "http://127.0.0.1:9")
    status = playground.library.status()
    assert status.device == "remote: 1 of 2 servers answering"
    assert [(row.repo_id, row.precision) for row in status.loaded] == [(MODEL, "as served")]
    phases = [progress.phase for progress in playground.library.load(MODEL)]
    assert phases == ["access", "ready"]


# --- the key ------------------------------------------------------------------------------------


def test_the_key_goes_to_the_server(server: StandInServer) -> None:
    server.key = "open sesame"
    playground = playground_on(server, engine_key="open sesame")
    assert chat(playground).text
    with pytest.raises(SettingsError):
        playground_on(server, engine_key="wrong")
    with pytest.raises(ServerError, match="does not accept this playground's key") as caught:
        chat(playground_on(server, engine_key="wrong", models=(MODEL,)))
    assert "GEMMA_SPACE_ENGINE_KEY" in caught.value.hint


def test_without_a_key_nobodys_token_is_sent(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_somebodysowntoken1234")
    playground = playground_on(server)
    chat(playground)
    complete(playground)
    assert set(server.keys) == {"Bearer EMPTY"}


# --- refusals in words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, '{"error": {"message": "maximum context length is 512 tokens", "code": 400}}',
         "refuses this request (400). It says: maximum context length is 512 tokens."),
        (400, '{"object": "error", "message": "too long"}', "It says: too long."),
        (422, '{"detail": [{"msg": "Input should be valid"}]}', "It says: Input should be valid."),
        (404, '{"error": {"message": "The model does not exist."}}',
         "does not have this model or this route (404). It says: The model does not exist."),
        (429, "", "is busy (429)."),
        (500, "Internal Server Error",
         "failed while generating (500). It says: Internal Server Error."),
        (502, "<html>Bad gateway</html>", "failed while generating (502)."),
        (503, '{"error": "loading"}', "is busy (503). It says: loading."),
    ],
)  # fmt: skip
def test_a_refusal_becomes_a_sentence(
    server: StandInServer, status: int, body: str, words: str
) -> None:
    playground = playground_on(server)
    chat(playground)
    server.refuses = (status, body)
    with pytest.raises(ServerError) as caught:
        chat(playground)
    assert words in str(caught.value)
    assert caught.value.hint.endswith(".")
    server.refuses = None
    assert chat(playground).text


def test_an_answer_that_nobody_can_read_is_said_to_be_one(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground = playground_on(server)
    complete(playground)
    odd = {"tokens": 3, "token_logprobs": [], "top_logprobs": []}
    monkeypatch.setattr(stand_in_server, "_choice", lambda *_: {"text": "x", "logprobs": odd})
    with pytest.raises(ServerError, match="answer cannot be read"):
        complete(playground, logprobs=2)


def test_thinking_is_asked_for_where_the_server_follows(server: StandInServer) -> None:
    server.models = [{"id": MODEL, "root": "google/gemma-4-E2B-it"}]
    assert chat(playground_on(server), thinking=True).notes == ()
    assert server.asked()[-1]["chat_template_kwargs"] == {"enable_thinking": True}
    server.follows -= {"thinking"}
    reply = chat(playground_on(server), thinking=True)
    assert any("no sign of it" in note for note in reply.notes)


def test_an_error_in_the_middle_of_a_stream_is_quoted(server: StandInServer) -> None:
    playground = playground_on(server)
    chat(playground)
    complete(playground)
    server.breaks_after, server.says = 2, "CUDA error: out of memory"
    for ask in (chat, complete):
        with pytest.raises(GemmaSpaceError, match="CUDA error: out of memory"):
            ask(playground)


def test_what_is_no_such_server_is_said_so() -> None:
    with pytest.raises(SettingsError, match="No server of GEMMA_SPACE_ENGINE_URL answers"):
        playground_on("http://127.0.0.1:9")


def test_a_full_server_follows_everything(server: StandInServer) -> None:
    playground = playground_on(server)
    ability = playground.library.ability(playground.library.find(MODEL))
    assert ability is not None
    assert ability.follows == EVERYTHING & ({*NEUTRAL, "seed"})
    assert (ability.scores, ability.takes_ids, ability.takes_bos) == (True, True, True)
    assert (ability.continues, ability.counts, ability.dialect) == (True, True, "fields")


# --- another address ----------------------------------------------------------------------------


@contextmanager
def sending_on(target: str, paths: tuple[str, ...]) -> Iterator[str]:
    """A server that sends requests for these paths on to `target`."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            here = self.path in paths
            self.send_response(307 if here else 200)
            self.send_header("Location", target + self.path) if here else None
            body = b"" if here else json.dumps({"data": [{"id": MODEL}]}).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("paths", [("/v1/chat/completions", "/v1/completions")], ids=str)
def test_a_server_cannot_send_somebodys_text_elsewhere(
    server: StandInServer, paths: tuple[str, ...]
) -> None:
    with sending_on(server.url, paths) as url:
        playground = playground_on(url, models=(MODEL,), engine_key="sk-secret")
        for ask in (chat, complete):
            with pytest.raises(ServerError):
                ask(playground)
    assert server.bodies == []
    assert server.keys == []
