"""What a config.json says about a model's shape, read through transformers' own classes.

Knows where each generation keeps its numbers, so that nothing else has to: multimodal configs
keep them in a text part, Gemma 4 has two head sizes, and defaults left out of the file are the
classes'. Reads no weights. Its functions import transformers (seconds), so they are called once
the page is served.
"""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from gemma_space.catalog import KVGroup


@cache
def kv_groups(folder: Path) -> tuple[KVGroup, ...]:
    """The layout of the KV cache that the folder's model would fill; empty if unreadable.

    Taken from the cache that transformers itself makes for this config: a layer that reuses
    another's keys has a placeholder there, a sliding layer says its window.
    """
    try:
        return _kv_groups(folder)
    except Exception:  # what a stranger's file makes the library raise is of any class
        return ()


def _kv_groups(folder: Path) -> tuple[KVGroup, ...]:
    from transformers import AutoConfig, DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    config = AutoConfig.from_pretrained(folder, local_files_only=True, token=False)
    text: Any = config.get_text_config(decoder=True)
    found: Counter[tuple[int, int, int | None]] = Counter()
    # Head counts and sizes are asked of each layer: Gemma 4's global layers differ, and asking
    # the config as a whole raises there.
    for layer, own in zip(DynamicCache(config=text).layers, text.per_layer_config, strict=True):
        if isinstance(layer, DynamicSlidingWindowLayer):
            found[(own.num_key_value_heads, own.head_dim, int(layer.sliding_window))] += 1
        elif isinstance(layer, DynamicLayer):
            found[(own.num_key_value_heads, own.head_dim, None)] += 1
    return tuple(KVGroup(count, *shape) for shape, count in found.items())
