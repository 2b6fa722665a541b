"""What a server does for a model, as it was found when it was tried, and how that reads.

A value and its words; `probing` finds it out, `wording` goes by it.
"""

from dataclasses import dataclass
from typing import Any, Literal

# How controls beyond OpenAI's are sent: as fields of their own (vLLM, SGLang, llama.cpp, another
# Gemma Space), in transformers' own configuration (`transformers serve`), or not at all.
Dialect = Literal["fields", "generation_config", "openai"]

# The values that change nothing, for every control that a server might not follow.
NEUTRAL: dict[str, Any] = {
    "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "typical_p": 1.0,
    "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
}  # fmt: skip
UNFOLLOWED = "the server did not follow it when it was tried"
NO_SEED = (
    "The server did not follow a seed when it was tried, so this one may not bring the same again."
)
NO_SCORES = "The server gives no probabilities, so no token is coloured."
NO_COUNT = "The server does not count tokens; these figures count the pieces it sent."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What one server does for one model.

    Attributes:
        no_chat, no_completion: why not, one sentence; empty where it does.
        top_k_off: what switches top-k off there.
        follows: the controls it was seen to follow, `seed` among them.
        scores: raw completions come with log-probabilities.
        takes_ids: a raw prompt may be token ids.
        takes_bos: it can be told to put no BOS in front of a raw prompt.
        continues: it goes on with a reply that was cut.
        thinks: it can be told to think, or not to.
        counts: it says how many tokens it read and wrote.
    """

    no_chat: str = ""
    no_completion: str = ""
    dialect: Dialect = "fields"
    top_k_off: int = 0
    follows: frozenset[str] = frozenset()
    scores: bool = False
    takes_ids: bool = False
    takes_bos: bool = False
    continues: bool = False
    thinks: bool = False
    counts: bool = False

    def unfollowed(self) -> tuple[str, ...]:
        """The controls that can only be left as the server has them."""
        return tuple(name for name in NEUTRAL if name not in self.follows)

    def lacks(self) -> tuple[str, ...]:
        """What cannot be had here, one sentence each with the reason."""
        controls = ", ".join(self.unfollowed())
        told = (
            self.no_chat and f"Chat: {self.no_chat}",
            self.no_completion and f"Raw prompts: {self.no_completion}",
            controls and f"{controls}: {UNFOLLOWED}.",
            "seed" not in self.follows and "Repeating a reply by its seed: no seed was followed.",
            not self.scores and "Probabilities: the server gives none.",
            not self.continues and "Continuing a reply that was cut: the server begins a new one.",
            not self.counts and "Exact token counts: the server does not count.",
            "Scores of a text, branches and capsules: they need token ids, which do not come.",
        )
        return tuple(sentence for sentence in told if sentence)
