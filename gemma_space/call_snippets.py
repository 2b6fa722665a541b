"""A finished run as a call of this app's own `/generate`: with gradio_client, and with curl.

Only what differs from the endpoint's defaults is sent, and the seed and precision as they were
resolved. The endpoint takes text: a prompt that was given as ids goes as the text they stand for,
and a comment says whether that reads as the same ids.
"""

import json
from typing import Any

from gemma_space.controls import CONTROLS
from gemma_space.runs import Run
from gemma_space.snippets import Facts, length_of, params_of
from gemma_space.source_text import as_list, as_python, call
from gemma_space.tokens import encode_prompt
from gemma_space.types import Attention

EXACT = "The run was given token ids; this text reads as the same ids."
INEXACT = "The run was given token ids, which the API does not take; this text reads as others."
BRANCH = "The run began with tokens that were given: here they are the end of the prompt."


def client_code(run: Run, facts: Facts, url: str) -> str:
    """A Python program that has this app write the run's completion again.

    Args:
        url: of this app, as the visitor's browser has it.
    """
    arguments = [
        f"{name}={_literal(name, value)}" for name, value in _arguments(run, facts).items()
    ]
    address, head = as_python(url.rstrip("/") + "/"), ["from gradio_client import Client"]
    client = [f"client = Client({address})"]
    if facts.row.gated:
        head = ["import os", "", *head]
        client = [
            "# The model is gated: a Hugging Face token that may read it goes along.",
            *call("client = Client", [address, 'oauth_token=os.environ["HF_TOKEN"]']),
        ]
    lines = [
        *head, "", *client, *(f"# {remark}" for remark in _remarks(run, facts)),
        *call("completion = client.predict", [*arguments, 'api_name="/generate"']),
        'print(completion["text"])', "",
    ]  # fmt: skip
    return "\n".join(lines)


def curl_code(run: Run, facts: Facts, url: str) -> str:
    """Two requests in one line of pipes: one starts the run, one reads its events to the end.

    The JSON is a quoted here-document, in which a shell changes nothing.

    Args:
        url: of this app, as the visitor's browser has it.
    """
    remarks = _remarks(run, facts)
    if facts.row.gated:
        remarks.append('The model is gated: add "oauth_token" with your Hugging Face token.')
    address = _shell_quoted(f"{url.rstrip('/')}/gradio_api/call/v2/generate")
    body = json.dumps(_arguments(run, facts), indent=2, ensure_ascii=False)
    return "\n".join(
        [
            *(f"# {remark}" for remark in remarks),
            f"curl -sSf {address} -H 'Content-Type: application/json' -d @- <<'JSON' |",
            *map(_visible, body.split("\n")),
            "JSON",
            """  sed -n 's/.*"event_id": *"\\([^"]*\\)".*/\\1/p' |""",
            f"  xargs -I EVENT_ID curl -sSN {address[:-1]}/EVENT_ID'",
            "",
        ]
    )


def _arguments(run: Run, facts: Facts) -> dict[str, Any]:
    """The parameters of `/generate` for this run, in its own order."""
    request, generation, params = run.request, run.generation, params_of(run)
    arguments: dict[str, Any] = {
        "prompt": request.prompt, "model": generation.model, "precision": generation.precision,
    }  # fmt: skip
    add_bos, parse_special = request.add_bos, request.parse_special
    if request.token_ids:
        arguments["prompt"], add_bos, parse_special = *_as_text(run, facts), True
    arguments |= {} if add_bos else {"add_bos": False}
    arguments |= {} if parse_special else {"parse_special": False}
    for control in CONTROLS:
        value = getattr(params, control.name)
        if control.name == "max_new_tokens":
            value = length_of(run)
        if value != getattr(facts.defaults, control.name):
            arguments[control.name] = value
    arguments["seed"] = params.seed
    arguments |= {"stop": list(params.stop)} if params.stop else {}
    arguments |= {"ignore_eos": True} if params.ignore_eos else {}
    if request.attention is not Attention.AUTO:
        arguments["attention"] = str(request.attention)
    return arguments


def _as_text(run: Run, facts: Facts) -> tuple[str, bool]:
    """The ids that were given as a text, and whether a BOS goes in front of what it says."""
    given = (*run.generation.prompt_ids, *run.request.begins_with)
    return facts.tokenizer.decode(list(given)), given[0] == facts.tokenizer.bos_token_id


def _remarks(run: Run, facts: Facts) -> list[str]:
    if not run.request.token_ids:
        return []
    text, add_bos = _as_text(run, facts)
    given = (*run.generation.prompt_ids, *run.request.begins_with)
    same = encode_prompt(facts.tokenizer, text, add_bos=add_bos) == given
    return [EXACT if same else INEXACT, *([BRANCH] if run.request.begins_with else [])]


def _literal(name: str, value: Any) -> str:
    if isinstance(value, str):
        return as_python(value, wrapped=name == "prompt")
    return as_list(value) if isinstance(value, list) else repr(value)


def _shell_quoted(text: str) -> str:
    """In single quotes always, so that a path can be added before the last of them."""
    return "'" + text.replace("'", "'\\''") + "'"


def _visible(line: str) -> str:
    """A line of JSON in which nothing hides; JSON's own escapes say the same."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
