"""The calls are made, as they were exported, to a really served app: the same text comes back."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gemma_space.call_snippets import BRANCH, EXACT, INEXACT, client_code, curl_code
from gemma_space.runs import Run
from gemma_space.snippets import Facts
from gemma_space.types import CompletionRequest, Controls, Precision
from tests.api.conftest import DEMO, GATED, Served
from tests.unit.test_snippets import ASKED, NASTY, RUN_ALL
from tests.unit.test_traps import last_of

GREEDY: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 12}
SAMPLED: dict[str, Any] = {"temperature": 1.2, "max_new_tokens": 12, "seed": 3}
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "defaults": (DEMO, ASKED, {"seed": 1}, {}),
    "greedy": (DEMO, ASKED, GREEDY, {}),
    "sampled": (
        "gemma3", "The answer",
        SAMPLED | {"top_k": 0, "min_p": 0.01, "repetition_penalty": 1.2, "stop": ("zz", "'\"\n"),
                   "ignore_eos": True, "typical_p": 0.9, "no_repeat_ngram_size": 3},
        {},
    ),
    "nasty": ("gemma3", NASTY, SAMPLED, {}),
    "nasty, literal": ("gemma3", NASTY, SAMPLED, {"parse_special": False, "add_bos": False}),
    "quotes": ("gemma3", "it's '\\'' \"\"\" \\", GREEDY, {}),
    "here-document": ("gemma3", "a\nJSON\nb\n$(echo no) `echo no` !! %0 @-", GREEDY, {}),
    "empty": ("gemma3", "", GREEDY, {}),
    "ids that are a text": ("gemma3", "", GREEDY, {"token_ids": (2, 400, 401)}),
    "ids without bos": ("gemma3", "", GREEDY, {"token_ids": (400, 401)}),
}  # fmt: skip


def made(app: Served, name: str) -> tuple[Run, Facts]:
    model, prompt, controls, more = CASES[name]
    model = app.folders.get(model, model)
    request = CompletionRequest(
        prompt=prompt, model=model, precision=Precision.FP32, controls=Controls(**controls), **more
    )
    run = Run(request=request, generation=last_of(app.playground.complete(request)))
    row = app.playground.library.find(model)
    facts = Facts(
        row=row,
        tokenizer=app.playground.library.tokenizer(row, None),
        defaults=app.playground.default_params(model),
    )
    return run, facts


def test_the_clients_program_prints_what_the_app_wrote(app: Served, tmp_path: Path) -> None:
    wanted = {}
    for number, name in enumerate(CASES):
        run, facts = made(app, name)
        path = tmp_path / f"{number}.py"
        path.write_text(client_code(run, facts, app.url), encoding="utf-8")
        wanted[str(path)] = run.generation.text
    out = subprocess.run(
        [sys.executable, "-c", RUN_ALL, *wanted], env=os.environ | {"PYTHONUTF8": "1"},
        check=True, timeout=100, stdout=subprocess.PIPE, encoding="utf-8",
    ).stdout  # fmt: skip
    for path, printed in json.loads(out).items():
        loaded, _, text = printed.partition("\n")
        assert loaded.startswith("Loaded as API")
        assert text == wanted[path] + "\n", Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_curl_brings_what_the_app_wrote(app: Served, name: str, shell: str) -> None:
    run, facts = made(app, name)
    code = curl_code(run, facts, app.url)
    told = subprocess.run(
        [shell, "-c", code], check=True, timeout=60, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout
    last = told.rpartition("event: complete\ndata: ")[2]
    assert json.loads(last)[0]["text"] == run.generation.text, (code, told)


def test_only_what_differs_is_sent(app: Served) -> None:
    run, facts = made(app, "defaults")
    code = client_code(run, facts, app.url)
    for control in ("temperature", "top_k", "stop", "max_new", "add_bos", "attention", "logprobs"):
        assert control not in code
    assert "seed=1," in code
    assert 'precision="fp32",' in code
    assert "oauth" not in code


def test_what_the_endpoint_cannot_take_is_said(app: Served) -> None:
    run, facts = made(app, "ids that are a text")
    assert EXACT in client_code(run, facts, app.url)
    request = CompletionRequest(
        prompt="", model=app.folders["gemma3"], precision=Precision.FP32,
        controls=Controls(**GREEDY), token_ids=(2, 2, 400), begins_with=(401,),
    )  # fmt: skip
    run = Run(request=request, generation=last_of(app.playground.complete(request)))
    for code in (client_code(run, facts, app.url), curl_code(run, facts, app.url)):
        assert INEXACT in code
        assert BRANCH in code


def test_a_gated_models_call_takes_a_token_from_the_environment(
    app: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canaryCANARYcanary")
    run, facts = made(app, "greedy")
    facts = Facts(row=GATED, tokenizer=facts.tokenizer, defaults=facts.defaults)
    assert 'oauth_token=os.environ["HF_TOKEN"]' in client_code(run, facts, app.url)
    assert "oauth_token" in curl_code(run, facts, app.url)
    assert "canary" not in client_code(run, facts, app.url) + curl_code(run, facts, app.url)
