"""A small OpenAI-compatible server on the loopback interface, which does and ignores what it is
told to.

Knows the wire: two routes and the list of models, streamed as vLLM does, with its extra fields.
Words are tokens; what it writes follows from the controls, so that it shows which of them it
follows. Wording of refusals is vLLM's and transformers'; it was never compared with a real vLLM.
"""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from gemma_space.remote.ability import NEUTRAL

EVERYTHING = frozenset({
    "temperature", "seed", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty",
    "no_repeat_ngram_size", "ignore_eos", "logprobs", "usage", "ids", "bos", "continue",
    "thinking", "stop",
})  # fmt: skip
LIKELIEST = ("one ", "two ")
OTHERS = ("red ", "green ", "blue ", "grey ", "pink ", "gold ", "teal ", "navy ")
KNOWN = {
    "model", "messages", "prompt", "max_tokens", "seed", "stop", "stream", "stream_options",
    "temperature", "top_p", "logprobs", "top_logprobs",
}  # fmt: skip


@dataclass
class StandInServer:
    """What it serves and how it behaves; change it while it runs.

    Attributes:
        models: the entries it lists; None: the list fails.
        follows: what it does; the rest is ignored without a word.
        strict: it refuses fields that OpenAI's API does not have.
        key: what it asks for; empty for nothing.
        words: how many it writes before it ends its turn.
        thoughts: what it thinks first.
        refuses: a status and a body in place of any reply.
        breaks_after: how many words come before it cuts the connection.
        says: an error in the middle of a stream, after `breaks_after` words.
        gate: while it is clear, nothing is written beyond the first word.
        bodies, keys: of each request for text, in order.
        left: set when somebody hung up before the end.
        busy: set while a request waits at the gate.
    """

    models: list[dict[str, Any]] | None = field(default_factory=lambda: [{"id": "stand/in"}])
    follows: frozenset[str] = EVERYTHING
    strict: bool = False
    key: str = ""
    words: int = 8
    thoughts: str = ""
    refuses: tuple[int, str] | None = None
    breaks_after: int | None = None
    says: str = ""
    gate: threading.Event = field(default_factory=threading.Event)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()

    def asked(self) -> list[dict[str, Any]]:
        """The bodies of requests that were no trials."""
        return [body for body in self.bodies if "Repeat this" not in json.dumps(body)
                and body.get("prompt") not in ("one", [2, 2, 2])]  # fmt: skip

    def reply(self, body: dict[str, Any]) -> list[str]:
        """The words it would write if its turn never ended."""
        value = {name: body.get(name, NEUTRAL.get(name)) for name in self.follows}
        narrow = value.get("top_k") == 1 or value.get("min_p") == 1.0
        narrow = narrow or (value.get("top_p") or 1.0) < 0.01 or value.get("temperature") == 0
        if narrow:
            changed = (value.get("repetition_penalty") or 1.0) > 1.0
            changed = changed or bool(value.get("no_repeat_ngram_size"))
            return [*(OTHERS if changed else LIKELIEST * 4)] * 100
        seed = value.get("seed") if "seed" in self.follows else random.random()
        dice = random.Random(f"{seed} {value.get('typical_p')}")
        return [dice.choice(OTHERS) for _ in range(800)]

    def written(self, body: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
        """The words it writes, and how it says why it ended."""
        ends = 500 if "ignore_eos" in self.follows and body.get("ignore_eos") else self.words
        most = body.get("max_tokens", 16)
        words, text = self.reply(body)[: min(ends, most)], ""
        for word in words:
            text += word
            for stop in body.get("stop", ()) if "stop" in self.follows else ():
                if stop in text:  # what it was sent up to there stays
                    kept = text[: text.index(stop)]
                    return [kept[at : at + 4] for at in range(0, len(kept), 4)], {
                        "finish_reason": "stop", "stop_reason": stop
                    }  # fmt: skip
        return words, {"finish_reason": "length" if most <= ends else "stop"}

    def prompt_tokens(self, body: dict[str, Any]) -> int:
        """What it counts: words, three marks around each turn, and a BOS."""
        prompt = body.get("prompt")
        if isinstance(prompt, list):
            return len(prompt)
        if prompt is not None:
            bare = "bos" in self.follows and body.get("add_special_tokens") is False
            return len(prompt.split()) + (not bare)
        count = 1 + sum(len(m["content"].split()) + 3 for m in body["messages"])
        if "continue" in self.follows and body.get("continue_final_message"):
            return count - 2
        switch = body.get("chat_template_kwargs", {}).get("enable_thinking")
        return count + 3 + ("thinking" in self.follows and bool(switch))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def stand_in(self) -> StandInServer:
        return cast(_Server, self.server).stand_in

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        stand_in = self.stand_in
        if not self._may():
            return
        if stand_in.models is None:
            self._answer(500, "Internal Server Error")
        else:
            self._answer(200, json.dumps({"object": "list", "data": stand_in.models}))

    def do_POST(self) -> None:
        stand_in = self.stand_in
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stand_in.bodies.append(body)
        stand_in.keys.append(self.headers.get("Authorization", ""))
        if not self._may():
            return
        unknown = set(body) - KNOWN
        if stand_in.refuses is not None:
            self._answer(*stand_in.refuses)
        elif stand_in.strict and unknown:
            self._answer(422, json.dumps({"detail": f"Unexpected fields: {sorted(unknown)}"}))
        elif isinstance(body.get("prompt"), list) and "ids" not in stand_in.follows:
            self._answer(400, json.dumps({"detail": "prompt must be a string."}))
        else:
            try:
                self._stream(stand_in, body, chat="messages" in body)
            except (BrokenPipeError, ConnectionResetError):
                stand_in.left.set()

    def _may(self) -> bool:
        key = self.stand_in.key
        if not key or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self._answer(401, json.dumps({"error": "Unauthorized"}))
        return False

    def _answer(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, stand_in: StandInServer, body: dict[str, Any], chat: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if chat and stand_in.thoughts:
            self._send({"delta": {"reasoning_content": stand_in.thoughts}})
        words, ending = stand_in.written(body)
        for number, word in enumerate(words):
            if number == stand_in.breaks_after:
                self._break(stand_in)
                return
            if number:
                self._wait(stand_in)
            self._send(_choice(stand_in, body, word, chat))
        self._send(({"delta": {}} if chat else {"text": ""}) | ending)
        if "usage" in stand_in.follows:
            usage = {"prompt_tokens": stand_in.prompt_tokens(body), "completion_tokens": len(words),
                     "total_tokens": 0, "prompt_tokens_details": {"cached_tokens": 2}}  # fmt: skip
            self._message({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _break(self, stand_in: StandInServer) -> None:
        if stand_in.says:
            self._message({"error": {"message": stand_in.says, "code": 500}})
        self.connection.close()

    def _wait(self, stand_in: StandInServer) -> None:
        """Stand at the gate; whoever hangs up meanwhile is noticed."""
        while not stand_in.gate.wait(0.02):
            stand_in.busy.set()
            self.wfile.write(b": still here\n\n")

    def _send(self, choice: dict[str, Any]) -> None:
        self._message({"choices": [{"index": 0, **choice}]})

    def _message(self, told: dict[str, Any]) -> None:
        told = {"id": "x", "created": 1, "model": "m", "system_fingerprint": "", **told}
        self.wfile.write(f"data: {json.dumps(told)}\n\n".encode())


def _choice(stand_in: StandInServer, body: dict[str, Any], word: str, chat: bool) -> dict[str, Any]:
    if chat:
        return {"delta": {"role": "assistant", "content": word}}
    if not body.get("logprobs") or "logprobs" not in stand_in.follows:
        return {"text": word}
    top = {word: -0.25, **{other: -2.0 - at for at, other in enumerate(OTHERS) if other != word}}
    kept = dict(list(top.items())[: body["logprobs"]])
    return {"text": word, "logprobs": {"tokens": [word], "token_logprobs": [-0.25],
                                       "top_logprobs": [kept], "text_offset": [0]}}  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: StandInServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up."""


@contextmanager
def standing_in(stand_in: StandInServer, port: int = 0) -> Iterator[StandInServer]:
    """Serve it until the block ends; at a port that it had before, if one is given."""
    server = _Server(("127.0.0.1", port), _Handler)
    server.stand_in = stand_in
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
