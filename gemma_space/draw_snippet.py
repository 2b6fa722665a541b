"""The app's way of drawing a token, as a logits processor that people can read.

Says in a few lines of Python, for one set of controls, what `engine.sampling` does for all of
them: the same tokens survive, in the same order, and one number of the same generator decides.
`generate(do_sample=True)` would draw from torch's global generator and give another text.
"""

from collections.abc import Iterator

from gemma_space.types import SamplingParams


def draw_lines(params: SamplingParams, vocabulary: int) -> Iterator[str]:
    """The lines of a class `Draw`, made with a seed; it leaves one token to choose from.

    Args:
        params: with a temperature above 0.
        vocabulary: how many tokens there are at least.
    """
    yield from (
        "class Draw(LogitsProcessor):",
        '    """Draws each token with a generator of its own, as Gemma Space does."""',
        "",
        "    def __init__(self, seed):",
        "        self.generator = torch.Generator().manual_seed(seed)",
    )
    typical = params.typical_p < 1.0
    if typical:
        yield "        self.warpers = LogitsProcessorList(["
        yield from (f"            {warper}," for warper in _warpers(params))
        yield "        ])"
    yield ""
    yield "    def __call__(self, input_ids, scores):"
    yield from (f"        {line}" for line in (_TYPICAL if typical else _kept(params, vocabulary)))
    yield from (f"        {line}" for line in _TAKE)


_TYPICAL = (
    "logits = self.warpers(input_ids, scores)[0]",
    "tokens = logits.isfinite().nonzero()[:, 0]",
    "probabilities = logits[tokens].softmax(-1)",
)
_TAKE = (
    "heights = probabilities.double().cumsum(-1).cpu()",
    "at = torch.rand(1, generator=self.generator, dtype=torch.float64) * heights[-1]",
    "index = min(int(torch.searchsorted(heights, at, right=True)), len(heights) - 1)",
    'drawn = torch.full_like(scores, -float("inf"))',
    "drawn[0, tokens[index]] = 0.0",
    "return drawn",
)


def _warpers(params: SamplingParams) -> Iterator[str]:
    """transformers' own, in its own order; what typical-p goes with."""
    if params.temperature != 1.0:
        yield f"TemperatureLogitsWarper({params.temperature})"
    if params.top_k > 0:
        yield f"TopKLogitsWarper({params.top_k})"
    if params.top_p < 1.0:
        yield f"TopPLogitsWarper({max(params.top_p, 1e-6)})"
    if params.min_p > 0:
        yield f"MinPLogitsWarper({params.min_p})"
    yield f"TypicalLogitsWarper({params.typical_p})"


def _kept(params: SamplingParams, vocabulary: int) -> Iterator[str]:
    """Lines that leave the tokens that may come, and their probabilities."""
    plain = "scores[0]" if params.temperature == 1.0 else f"scores[0] / {params.temperature}"
    logits = plain if params.temperature == 1.0 else f"({plain})"
    if params.top_k > 0 and params.top_k < vocabulary:
        yield f"logits, tokens = {logits}.topk({params.top_k})"
    elif params.top_k > 0 or params.top_p < 1.0:
        yield f"logits, tokens = {logits}.sort(descending=True)"
    elif params.min_p > 0:
        yield f"logits = {plain}"
        yield f"tokens = (logits >= logits.max() + math.log({params.min_p})).nonzero()[:, 0]"
        yield "probabilities = logits[tokens].softmax(-1)"
        return
    else:
        yield f"probabilities = {logits}.softmax(-1)"
        yield "tokens = torch.arange(len(probabilities))"
        return
    yield "probabilities = logits.softmax(-1)"
    if params.top_p < 1.0:
        yield "before = probabilities.cumsum(-1) - probabilities"
        count = f"(before < {params.top_p}).sum()" if params.top_p > 0 else "1"
        yield f"probabilities = probabilities[:{count}]  # top-p"
    if params.min_p > 0:
        least = f"{params.min_p} * probabilities[0]"
        yield f"probabilities = probabilities[probabilities >= {least}]  # min-p"
