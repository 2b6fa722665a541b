"""A finished run as a program: plain transformers code that writes the same text.

Knows how a run came about (files, dtype, prompt, controls, the order of the draw) and how to say
so in Python, with every value written out and nothing for a control that is off. Runs nothing,
holds no secret: a gated model's token is found by the libraries themselves. How a token is drawn
is in `draw_snippet`, calls over HTTP are in `call_snippets`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_space.assets import ASSETS
from gemma_space.catalog import Checkpoint
from gemma_space.chat import turn_end_ids
from gemma_space.checkpoint_files import read_json, stop_ids_of
from gemma_space.draw_snippet import draw_lines
from gemma_space.runs import Run
from gemma_space.source_text import as_list, as_python, call, import_line
from gemma_space.types import Attention, FinishReason, Precision, SamplingParams

DTYPES = {Precision.FP32: "float32", Precision.FP16: "float16"}  # bfloat16 in every other
# As `loading` has it.
NOT_QUANTIZED = {"gemma3n": '["lm_head", r".*\\.altup"]'}
CUT_SHORT: tuple[FinishReason | None, ...] = ("cancelled", "time_limit", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What code needs to know beside the run itself.

    Attributes:
        row: of the model that ran.
        tokenizer: the model's own.
        defaults: the controls this model has where a caller gives none.
        base_revision: commit of an adapter's base; empty where it is not known or in a folder.
    """

    row: Checkpoint
    tokenizer: Any
    defaults: SamplingParams
    base_revision: str = ""

    @property
    def files(self) -> Path:
        """The folder with the configuration of the model, for an adapter of its base."""
        model = self.row.base or self.row
        return model.path or Path(self.tokenizer.name_or_path)

    @property
    def stop_ids(self) -> list[int]:
        """Ids that end a reply: those of the files, and the turn end of their template."""
        told = read_json(self.files / "generation_config.json")
        told = told or read_json(self.files / "config.json")
        configured = stop_ids_of(told) if told else ()
        return sorted({*configured, *self.row.stop_ids, *turn_end_ids(self.tokenizer)})


def params_of(run: Run) -> SamplingParams:
    """The controls as they were used."""
    assert run.generation.params is not None  # every update of a playground has them
    return run.generation.params


def length_of(run: Run) -> int:
    """How many tokens to ask for: as many as were written where the run was cut short."""
    generation = run.generation
    written = len(generation.token_ids) - len(run.request.begins_with)
    if generation.finish_reason in CUT_SHORT and written > 0:
        return written
    return params_of(run).max_new_tokens


def transformers_code(run: Run, facts: Facts) -> str:
    """A Python program that prints the run's completion.

    In fp32 it prints the same text on any device of the same kind; in 16 bits and below, a near
    tie may fall the other way.
    """
    body = "\n".join(_body(run, facts))
    names = [name for name in IMPORTED if name in body]
    imports = ["import math", ""] if "math." in body else []
    imports += ["import torch", *import_line("transformers", names)]
    return "\n".join([*_about(run, facts), *imports, "", body, ""])


def _about(run: Run, facts: Facts) -> Iterator[str]:
    row, precision = facts.row, run.generation.precision
    yield f"# The completion of {row.repo_id} in {precision}, as Gemma Space wrote it."
    quantized = precision in (Precision.INT8, Precision.INT4)
    more = ["bitsandbytes"] * quantized + ["peft"] * (row.base is not None)
    yield f"# pip install {' '.join(['torch', 'transformers', 'accelerate', *more])}"
    if row.gated:
        yield "# The model is gated: accept its terms, then set HF_TOKEN or run `hf auth login`."
    if any(source(r).startswith(f"{ASSETS.name}/") for r in (row.base, row) if r is not None):
        yield "# It comes with Gemma Space: run this in the folder that holds app.py."


# All that a program may use of transformers, in the order of imports.
IMPORTED = (
    "AutoConfig", "AutoModelForCausalLM", "AutoTokenizer", "BitsAndBytesConfig",
    "GenerationConfig", "LogitsProcessor", "LogitsProcessorList", "MinPLogitsWarper",
    "StoppingCriteria", "StoppingCriteriaList", "TemperatureLogitsWarper", "TopKLogitsWarper",
    "TopPLogitsWarper", "TypicalLogitsWarper",
)  # fmt: skip


def source(row: Checkpoint) -> str:
    """What to load a model by: its repository, or the folder as visitors know it."""
    if row.path is None or row.repo_id == str(row.path):
        return row.repo_id
    try:
        return row.path.relative_to(ASSETS.parent).as_posix()
    except ValueError:
        return row.repo_id


def _body(run: Run, facts: Facts) -> Iterator[str]:
    params, is_text = params_of(run), _is_text(run, facts)
    yield from _constants(run, facts, is_text)
    if params.temperature > 0:
        yield from ("", "", *draw_lines(params, len(facts.tokenizer)))
    if params.stop:
        yield from ("", "", *_STOP_STRING)
    yield from ("", "") if params.temperature > 0 or params.stop else ("",)
    yield from _loading(run, facts)
    yield ""
    if is_text:
        yield from _encoding(run, facts)
    given = "prompt_ids + begins_with" if run.request.begins_with else "prompt_ids"
    yield f"input_ids = torch.tensor([{given}], device=model.device)"
    yield from call("output = model.generate", _generation(run))
    yield "completion = output[0, len(prompt_ids):].tolist()"
    if not params.ignore_eos:
        yield "if completion[-1] in STOP_IDS:"
        yield "    completion.pop()"
    yield from _text(run, facts)


def _constants(run: Run, facts: Facts, is_text: bool) -> Iterator[str]:
    params = params_of(run)
    if is_text:
        yield f"PROMPT = {as_python(run.request.prompt, wrapped=True)}"
    else:
        yield f"prompt_ids = {as_list(run.generation.prompt_ids)}"
    if run.request.begins_with:
        yield f"begins_with = {as_list(run.request.begins_with)}  # the completion's first ids"
    if params.stop:
        yield f"STOP = {as_list(params.stop)}"
    if not params.ignore_eos:
        yield f"STOP_IDS = {facts.stop_ids}"


def _loading(run: Run, facts: Facts) -> Iterator[str]:
    model, revision = facts.row, run.generation.revision
    if model.base is not None:
        model, revision = model.base, facts.base_revision
    folder = as_python(source(model))
    where = [folder, *_revision(model, revision)]
    arguments = [*where, *_precision(run, model)]
    if run.request.attention is not Attention.AUTO:
        arguments.append(f"attn_implementation={_attention(run, facts)}")
    if model.family == "gemma3n" and "text_config" in read_json(facts.files / "config.json"):
        yield from call("config = AutoConfig.from_pretrained", where)
        arguments += [
            "config=config.get_text_config(decoder=True),  # its towers are not for text",
            r'key_mapping={r"^model\.language_model\.": "model."}',
        ]
    yield from call("tokenizer = AutoTokenizer.from_pretrained", where)
    yield from call(
        "model = AutoModelForCausalLM.from_pretrained", [*arguments, 'device_map="auto"']
    )
    if model is not facts.row:
        pinned = _revision(facts.row, run.generation.revision)
        options = (
            [f'adapter_kwargs={{"revision": {pinned[0].partition("=")[2]}}}'] if pinned else []
        )
        yield from call("model.load_adapter", [as_python(source(facts.row)), *options])
    yield "model.generation_config = GenerationConfig()  # nothing but what is written below"


def _revision(row: Checkpoint, revision: str) -> list[str]:
    return [f"revision={as_python(revision)}"] if row.path is None and revision else []


def _precision(run: Run, model: Checkpoint) -> Iterator[str]:
    """The keyword arguments that `loading` makes of a precision."""
    precision = Precision(run.generation.precision)
    yield f"dtype=torch.{DTYPES.get(precision, 'bfloat16')}"
    if model.quantization is not None:  # the files say how
        return
    options = {
        Precision.INT8: ["load_in_8bit=True"],
        Precision.INT4: [
            "load_in_4bit=True",
            'bnb_4bit_quant_type="nf4"',
            "bnb_4bit_use_double_quant=True",
            "bnb_4bit_compute_dtype=torch.bfloat16",
        ],
    }.get(precision)
    if options is not None:
        if model.family in NOT_QUANTIZED:
            options.append(f"llm_int8_skip_modules={NOT_QUANTIZED[model.family]}")
        yield "\n".join(call("quantization_config=BitsAndBytesConfig", options))


def _attention(run: Run, facts: Facts) -> str:
    name = as_python(str(run.request.attention))
    model = facts.row.base or facts.row
    multimodal = "text_config" in read_json(facts.files / "config.json")
    return f'{{"text_config": {name}}}' if multimodal and model.family != "gemma3n" else name


def _is_text(run: Run, facts: Facts) -> bool:
    """Whether the prompt's ids are those of its text, after at most one BOS."""
    if run.request.token_ids:
        return False
    plain, ids = _encoded(run, facts), run.generation.prompt_ids
    return ids in (plain, (facts.tokenizer.bos_token_id, *plain))


def _encoded(run: Run, facts: Facts) -> tuple[int, ...]:
    options = {} if run.request.parse_special else {"split_special_tokens": True}
    ids = facts.tokenizer.encode(run.request.prompt, add_special_tokens=False, **options)
    return tuple(ids)


def _encoding(run: Run, facts: Facts) -> Iterator[str]:
    literal = [] if run.request.parse_special else ["split_special_tokens=True"]
    yield from call(
        "prompt_ids = tokenizer.encode", ["PROMPT", "add_special_tokens=False", *literal]
    )
    if _encoded(run, facts) != run.generation.prompt_ids:
        yield "prompt_ids = [tokenizer.bos_token_id, *prompt_ids]"


_STOP_STRING = (
    "class StopString(StoppingCriteria):",
    '    """Ends the completion with the token that completes a stop string."""',
    "",
    "    def __call__(self, input_ids, scores, **_):",
    "        text = tokenizer.decode(input_ids[0, len(prompt_ids):])",
    "        found = any(stop in text for stop in STOP)",
    "        return torch.tensor([found], device=input_ids.device)",
)


def _generation(run: Run) -> Iterator[str]:
    params, length = params_of(run), length_of(run)
    cut = length < params.max_new_tokens
    yield "input_ids"
    yield "attention_mask=torch.ones_like(input_ids)"
    yield f"max_new_tokens={length}" + (",  # the run was stopped here" if cut else "")
    yield "do_sample=False" + (",  # `Draw` samples" if params.temperature > 0 else "")
    if params.repetition_penalty != 1.0:
        yield f"repetition_penalty={params.repetition_penalty}"
    if params.no_repeat_ngram_size > 0:
        yield f"no_repeat_ngram_size={params.no_repeat_ngram_size}"
    if params.temperature > 0:
        yield f"logits_processor=LogitsProcessorList([Draw(seed={params.seed})])"
    if params.stop:
        yield "stopping_criteria=StoppingCriteriaList([StopString()])"
    if not params.ignore_eos:
        yield "eos_token_id=STOP_IDS"
    yield "pad_token_id=0"


def _text(run: Run, facts: Facts) -> Iterator[str]:
    text = run.generation.text
    if params_of(run).stop:
        yield "text = tokenizer.decode(completion)"
        yield "end = min((text.find(s) for s in STOP if s in text), default=len(text))"
        yield "print(text[:end])"
        return
    whole = facts.tokenizer.decode(list(run.generation.token_ids))
    if whole != text and whole.rstrip("\ufffd") == text:
        yield "# The last character is not complete."
        yield r'print(tokenizer.decode(completion).rstrip("\ufffd"))'
        return
    if whole != text:
        yield "# Some of its bytes are no characters: here they may show as other marks."
    yield "print(tokenizer.decode(completion))"
