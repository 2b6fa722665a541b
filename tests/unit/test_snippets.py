"""The programs are run, each as it was exported, and must print what the app wrote."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from gemma_space import loading
from gemma_space.access import Access
from gemma_space.assets import ASSETS, DEMO_MODEL
from gemma_space.catalog import DEMO_ADAPTER_ID, DEMO_REPO_ID, Checkpoint, hub_catalog
from gemma_space.playground import Playground
from gemma_space.runs import Run
from gemma_space.settings import Settings
from gemma_space.shelf import served_checkpoints
from gemma_space.snippets import Facts, transformers_code
from gemma_space.source_text import as_list, as_python
from gemma_space.types import (
    Attention,
    CompletionRequest,
    Controls,
    Generation,
    Precision,
    SamplingParams,
)
from tests import tiny_adapters
from tests import tiny_checkpoints as tiny
from tests.tiny_checkpoints import Checkpoints, no_hub
from tests.unit.test_traps import last_of

ROOT = ASSETS.parent
# Runs every program it is given, as `python program.py` would, and tells what each printed.
RUN_ALL = """
import contextlib, io, json, runpy, sys
printed = {}
for path in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path(path, run_name="__main__")
    printed[path] = out.getvalue()
print(json.dumps(printed))
"""
ASKED = "<start_of_turn>user\nWhat is a token?<end_of_turn>\n<start_of_turn>model\n"
NASTY = (
    "It's \"quoted\" `here` $HOME $(date) \\n \\ \\\\ 'x' \"\"\" ''' {braces} #no\n"
    "JSON\n\ttab \r\n é 東京 🦙 \u202eedoc \u2028 \x0c \x85 \x1b[1m <eos> <bos> %s {0}\n\n"
)
GREEDY: dict[str, Any] = {"temperature": 0.0}
SAMPLED: dict[str, Any] = {"temperature": 0.7, "seed": 11, "top_k": 0, "top_p": 1.0}


@dataclass
class Case:
    """A run to be exported: a checkpoint by name, a prompt, and what differs from the defaults."""

    model: str
    prompt: str = "The answer is"
    controls: dict[str, Any] = field(default_factory=lambda: GREEDY)
    request: dict[str, Any] = field(default_factory=dict)
    tokens: int = 24


CASES = {
    **{f"greedy {t.name}": Case(t.name) for t in (*tiny.EVERY, tiny.GEMMA_3_BASE)},
    **{f"adapter on {name}": Case(name) for name in ("adapter", DEMO_ADAPTER_ID)},
    "greedy demo": Case(DEMO_REPO_ID, ASKED, tokens=90),
    "sampled demo": Case(DEMO_REPO_ID, ASKED, {"seed": 5}, tokens=60),
    "sampled adapter": Case(DEMO_ADAPTER_ID, ASKED, {"seed": 4}, tokens=40),
    "hot": Case(DEMO_REPO_ID, ASKED, SAMPLED | {"temperature": 2.0}, tokens=40),
    "unscaled": Case("gemma3", controls=SAMPLED | {"temperature": 1.0}),
    "top-k": Case("gemma3", controls=SAMPLED | {"top_k": 20}),
    "all top-k": Case("gemma3", controls=SAMPLED | {"top_k": 1000, "top_p": 0.99}),
    "top-p": Case("gemma3", controls=SAMPLED | {"top_p": 0.9}),
    "no top-p": Case("gemma3", controls=SAMPLED | {"top_p": 0.0}),
    "min-p": Case("gemma3", controls=SAMPLED | {"min_p": 0.05}),
    "top-k, top-p, min-p": Case(
        "gemma3", controls=SAMPLED | {"top_k": 50, "top_p": 0.95, "min_p": 0.01}
    ),
    "top-p, min-p": Case("gemma4", controls=SAMPLED | {"top_p": 0.95, "min_p": 0.02}),
    "typical": Case("gemma3", controls=SAMPLED | {"typical_p": 0.8}),
    "everything": Case(
        DEMO_REPO_ID, ASKED,
        SAMPLED | {"top_k": 60, "top_p": 0.97, "min_p": 0.001, "typical_p": 0.9,
                   "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "stop": ("zzz", "qq")},
        tokens=40,
    ),
    "penalties, greedy": Case(
        "gemma3", controls=GREEDY | {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2}
    ),
    "penalties, sampled": Case(
        "gemma1", controls=SAMPLED | {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
    ),
    "stop strings": Case(
        DEMO_REPO_ID, ASKED, GREEDY | {"stop": ("s who yo", "of te", "\"'\n")}, tokens=60
    ),
    "ignore_eos": Case(DEMO_REPO_ID, ASKED, GREEDY | {"ignore_eos": True}, tokens=90),
    "no bos": Case("gemma3", request={"add_bos": False}),
    "bos in the prompt": Case("gemma3", "<bos>The answer"),
    "two bos in the prompt": Case("gemma3", "<bos><bos>The answer"),
    "literal": Case("gemma3", ASKED + "<bos>", request={"parse_special": False}),
    "literal, no bos": Case(
        "gemma3", ASKED + "<bos>", request={"parse_special": False, "add_bos": False}
    ),
    "empty": Case("gemma3", ""),
    "nasty": Case("gemma3", NASTY),
    "long": Case("gemma3", "The quick brown fox. " * 60),
    "exact ids": Case("gemma3", request={"token_ids": (2, 2, *range(380, 420))}),
    "branch by hand": Case(
        DEMO_REPO_ID, controls=SAMPLED | {"stop": ("zzz",)},
        request={"token_ids": (2, 400, 401), "begins_with": (402, 403, 1, 404)},
    ),
    "branch that has stopped": Case(
        DEMO_REPO_ID, controls=GREEDY | {"stop": ("q",)},
        request={"token_ids": (2, 105), "begins_with": tuple(range(430, 460))},
    ),
    "eager": Case("gemma3", request={"attention": Attention.EAGER}),
    "eager, multimodal": Case("gemma3-multimodal", request={"attention": Attention.EAGER}),
    "bf16": Case("gemma3", request={"precision": Precision.BF16}),
    "int4": Case(DEMO_REPO_ID, ASKED, request={"precision": Precision.INT4}),
}  # fmt: skip


@dataclass
class Exported:
    """A run of the app, its program, and what that printed."""

    run: Run
    code: str
    printed: str = ""


class App:
    """The app without its page: every tiny checkpoint, the demo and two adapters."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        folders = {t.name: checkpoints.folder(t) for t in (*tiny.EVERY, tiny.GEMMA_3_BASE)}
        folders["adapter"] = checkpoints.variant(
            "adapter", lambda path: tiny_adapters.write(folders["gemma3"], path)
        )
        self.names = {name: str(folder) for name, folder in folders.items()}
        rows = served_checkpoints((DEMO_REPO_ID, DEMO_ADAPTER_ID, *self.names.values()))
        self.playground = Playground(rows, Access(probe=no_hub), Settings())

    def run(self, case: Case) -> Run:
        options: dict[str, Any] = {"precision": Precision.FP32, **case.request}
        request = CompletionRequest(
            prompt=case.prompt, model=self.names.get(case.model, case.model),
            controls=Controls(max_new_tokens=case.tokens, **case.controls), **options,
        )  # fmt: skip
        return self.made(request)

    def made(self, request: CompletionRequest) -> Run:
        last = last_of(self.playground.complete(request))
        return Run(request=request, generation=last, tokens=last.tokens)

    def facts(self, model: str) -> Facts:
        row = self.playground.library.find(self.names.get(model, model))
        return Facts(
            row=row,
            tokenizer=self.playground.library.tokenizer(row, None),
            defaults=self.playground.default_params(row.repo_id),
        )


@pytest.fixture(scope="module")
def app(checkpoints: Checkpoints) -> App:
    return App(checkpoints)


PEFT = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@pytest.fixture(scope="module")
def exported(app: App, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Every case, run by the app and then, all in one process without it, by its own program."""
    found = {}
    for name, case in CASES.items():
        run = app.run(case)
        found[name] = Exported(run, transformers_code(run, app.facts(case.model)))
    first = app.made(replace(found["greedy demo"].run.request, logprobs=3))
    branch = first.branch(4, first.tokens[4].top[1])
    taken = Run(request=branch.request, generation=last_of(app.playground.complete(branch.request)))
    found["branch"] = Exported(taken, transformers_code(taken, app.facts(DEMO_REPO_ID)))
    short = _cut_short(found["greedy demo"].run)
    found["cancelled"] = Exported(short, transformers_code(short, app.facts(DEMO_REPO_ID)))
    folder = tmp_path_factory.mktemp("programs")
    paths = {str(folder / f"{n}.py"): each for n, each in enumerate(found.values())}
    for path, each in paths.items():
        Path(path).write_text(each.code, encoding="utf-8")
    for path, text in json.loads(executed("-c", RUN_ALL, *paths)).items():
        paths[path].printed = text
    return found


def executed(*arguments: str) -> str:
    """What Python prints, without network, in the folder that holds app.py."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, check=True, timeout=110,
        stdout=subprocess.PIPE, encoding="utf-8",
    ).stdout  # fmt: skip


def _cut_short(run: Run) -> Run:
    """The same, had somebody pressed Stop after ten tokens."""
    ids = run.generation.token_ids[:10]
    text = loading.load_tokenizer(DEMO_MODEL).decode(list(ids))
    return replace(
        run,
        generation=replace(run.generation, token_ids=ids, text=text, finish_reason="cancelled"),
    )


@PEFT
@pytest.mark.parametrize("name", [*CASES, "branch", "cancelled"])
def test_the_program_prints_what_the_app_wrote(exported: dict[str, Exported], name: str) -> None:
    each = exported[name]
    assert each.printed == each.run.generation.text + "\n", each.code


def test_controls_do_what_they_should(exported: dict[str, Exported]) -> None:
    """Cases that would pass without their control prove nothing."""
    ends = {name: each.run.generation.finish_reason for name, each in exported.items()}
    assert ends["stop strings"] == ends["branch that has stopped"] == "stop_string"
    assert ends["greedy demo"] == "stop"
    ids = {name: each.run.generation.token_ids for name, each in exported.items()}
    assert 106 in ids["ignore_eos"]
    assert ids["greedy gemma3"] != ids["penalties, greedy"]
    sampled = ("top-k", "top-p", "min-p", "typical", "unscaled", "no top-p")
    assert len({ids[name] for name in sampled}) > 3


def test_nothing_is_said_of_controls_that_are_off(exported: dict[str, Exported]) -> None:
    code = exported["greedy demo"].code
    for word in ("Draw", "STOP =", "penalty", "ngram", "revision", "attn", "HF_TOKEN", "peft"):
        assert word not in code
    assert "min-p" not in exported["top-p"].code
    assert "STOP_IDS" not in exported["ignore_eos"].code


def test_every_line_is_short_but_those_that_hold_a_prompt(exported: dict[str, Exported]) -> None:
    for name in set(CASES) - {"long", "nasty"}:
        code = exported[name].code.replace(str(exported[name].run.request.model), "a/model")
        assert max(map(len, code.splitlines())) <= 100, name


# --- what cannot be run here -----------------------------------------------------------------

GATED = next(row for row in hub_catalog() if row.repo_id == "google/gemma-3-270m-it")
COMMIT = "0123456789" * 4


def code_of(row: Checkpoint, precision: str, **request: Any) -> str:
    """The program of a made-up run."""
    params = SamplingParams(
        max_new_tokens=4, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, typical_p=1.0,
        repetition_penalty=1.0, no_repeat_ngram_size=0, seed=0,
    )  # fmt: skip
    generation = Generation(
        text="", prompt_tokens=1, completion_tokens=0, cached_tokens=0, dropped_messages=0, seed=0,
        ttft_seconds=None, tokens_per_second=None, model=row.repo_id, revision=COMMIT,
        precision=precision, prompt_ids=(2,), params=params, finish_reason="stop",
    )  # fmt: skip
    asked = CompletionRequest(prompt="", model=row.repo_id, **request)
    tokenizer = loading.load_tokenizer(DEMO_MODEL)
    facts = Facts(row=row, tokenizer=tokenizer, defaults=params, base_revision="b" * 40)
    return transformers_code(Run(request=asked, generation=generation), facts)


def test_a_gated_model_is_pinned_and_its_token_is_the_librarys_affair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canaryCANARYcanary")
    code = code_of(GATED, "bf16")
    assert code.count(f'"{GATED.repo_id}",\n    revision="{COMMIT}",') == 2
    assert "set HF_TOKEN" in code
    assert "canary" not in code
    assert "token=" not in code
    code = code_of(replace(GATED, repo_id="me/lora", variant="adapter", base=GATED), "bf16")
    assert code.count(f'"{GATED.repo_id}",\n    revision="{"b" * 40}",') == 2
    assert f'"me/lora",\n    adapter_kwargs={{"revision": "{COMMIT}"}},' in code


@pytest.mark.parametrize("family", ["gemma3", "gemma3n"])
@pytest.mark.parametrize("precision", [p for p in Precision if p in loading.DTYPES])
def test_a_precision_is_written_as_the_app_loads_it(family: str, precision: Precision) -> None:
    row = replace(GATED, family=family)
    loaded = loading._arguments(row, DEMO_MODEL, precision, Attention.EAGER)
    code = code_of(row, str(precision), attention=Attention.EAGER)
    call = next(
        node for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "AutoModelForCausalLM.from_pretrained"
    )  # fmt: skip
    names = {"torch": torch, "BitsAndBytesConfig": transformers.BitsAndBytesConfig}
    written = {str(k.arg): eval(ast.unparse(k.value), names) for k in call.keywords}
    assert written.pop("revision") == COMMIT
    assert written.pop("device_map") == "auto"
    for each in (loaded, written):
        if "quantization_config" in each:
            each["quantization_config"] = each["quantization_config"].to_dict()
    assert written == loaded


# --- quoting ---------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8")) | st.sampled_from(['"', "\\", "'''", NASTY, "\r\n"])


@given(TEXTS, st.booleans())
def test_a_text_reads_back_as_itself_and_hides_nothing(text: str, wrapped: bool) -> None:
    written = as_python(text, wrapped=wrapped)
    assert ast.literal_eval(written) == text
    assert written.replace("\n", "").isprintable()


@given(st.lists(TEXTS, max_size=5) | st.lists(st.integers(0, 300_000), max_size=60))
def test_a_list_reads_back_as_itself(values: list[Any]) -> None:
    assert ast.literal_eval(as_list(values)) == values
