"""The tokenizer: a byte-fallback BPE laid out like Gemma 3's.

Knows where Gemma 3 keeps its control tokens and how Gemma spells a space. Knows nothing of the
corpus except that it is an iterator of strings.
"""

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import GemmaTokenizer

SIZE = 3072
TURN_START, TURN_END = 105, 106
NAMED_CONTROLS = {
    0: "<pad>",
    1: "<eos>",
    2: "<bos>",
    3: "<unk>",
    4: "<mask>",
    TURN_START: "<start_of_turn>",
    TURN_END: "<end_of_turn>",
}
# The slots between hold <unused0>, <unused1>, ... as in Gemma's own vocabulary.
CONTROLS = [NAMED_CONTROLS.get(i, f"<unused{i - 5}>") for i in range(TURN_END + 1)]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
# Merges are learned inside one word, one digit or one run of punctuation, never across them.
PIECE = Regex(r"▁?[^\W\d_]+|\d|\n|▁|[^\w\s▁]|_")

CHAT_TEMPLATE = """{{ bos_token -}}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set texts = messages[0]['content'] | map(attribute='text') -%}
        {%- set first_user_prefix = texts | join('') + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = '' -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else '') }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception('Invalid content type') }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\\n' }}
{%- endif -%}
"""


def _learn_merges(texts: Iterable[str], size: int) -> tuple[list[str], list]:
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split(PIECE, "isolated")
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return pieces, [tuple(pair) for pair in model["merges"]]


def learn_tokenizer(texts: Iterable[str]) -> GemmaTokenizer:
    """Learn merges from the texts and put them behind Gemma's control and byte tokens."""
    pieces, merges = _learn_merges(texts, SIZE - len(CONTROLS) - len(BYTES))
    vocab = {piece: i for i, piece in enumerate([*CONTROLS, *BYTES, *pieces])}
    tokenizer = GemmaTokenizer(
        vocab=vocab,
        merges=merges,
        add_bos_token=True,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        padding_side="left",
    )
    tokenizer.add_special_tokens({"additional_special_tokens": CONTROLS[5:]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
