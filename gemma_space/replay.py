"""What a replay showed: the same, or the first token that differs and the likely reasons.

Compares a capsule with a run made from it and with what that ran in. Runs nothing.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from gemma_space.capsule import Capsule
from gemma_space.runs import Run
from gemma_space.surroundings import Surroundings
from gemma_space.types import ScoredPiece, TokenPiece

NEAR_TIE_NATS = 0.1
CUT_SHORT = ("cancelled", "time_limit")
NOTHING_KNOWN = "Nothing known differs."
TAMPERED = (
    "The tokens are the same and their text is not: the capsule was changed since it was saved, "
    "or the tokenizer was."
)

OTHER_TOKENS = (
    "The text is the same and its tokens are not: the capsule was changed since it was saved, or "
    "the tokenizer was."
)
UNLIKELY = 0.001  # rounding alone does not bring a token of less probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a run came out beside its capsule.

    Attributes:
        identical: the same tokens, the same text, the same end.
        at: index of the first token that differs, from 0, counted from the completion's first;
            None where all tokens are the same.
        then, now: the capsule's token there, and the run's; None for the one that had ended.
        reasons: why it may be so, likeliest first, in sentences; empty where identical.
    """

    identical: bool
    at: int | None = None
    then: TokenPiece | None = None
    now: TokenPiece | None = None
    reasons: tuple[str, ...] = ()


def compare(
    capsule: Capsule, run: Run, now: Surroundings, name: Callable[[int], str]
) -> Comparison:
    """Hold a run against the capsule it was made from.

    Args:
        run: finished.
        now: what it ran with, see `surroundings.present`.
        name: the text that a token id stands for; called with ids of the capsule too, which may
            be none of this tokenizer's.
    """
    old, new = capsule.output.ids, run.generation.token_ids
    if old == new and capsule.output.text == run.generation.text and _same_end(capsule, run):
        return Comparison(identical=True)
    if old == new:
        sure = TAMPERED if capsule.output.text != run.generation.text else _ends(capsule, run)
        return Comparison(identical=False, reasons=(sure, *_known(capsule, run, now)))
    pairs = zip(old, new, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
    return Comparison(
        identical=False,
        at=at,
        then=TokenPiece(id=old[at], text=name(old[at])) if at < len(old) else None,
        now=TokenPiece(id=new[at], text=name(new[at])) if at < len(new) else None,
        reasons=tuple(_reasons(capsule, run, now, at)) or (NOTHING_KNOWN,),
    )


def _same_end(capsule: Capsule, run: Run) -> bool:
    """Whether both ended alike; who was cut short after the last token ended alike too."""
    ends = (capsule.output.finish_reason, _end(run))
    return ends[0] == ends[1] or any(end in CUT_SHORT for end in ends)


def _end(run: Run) -> str:
    return run.generation.finish_reason or "cancelled"


def _ends(capsule: Capsule, run: Run) -> str:
    return (
        f"The tokens are the same, and the end is not: {capsule.output.finish_reason} then, "
        f"{_end(run)} now."
    )


def _reasons(capsule: Capsule, run: Run, now: Surroundings, at: int) -> Iterator[str]:
    yield from _one_begins_the_other(capsule, run, at)
    known = tuple(_known(capsule, run, now))
    if capsule.output.text == run.generation.text:
        yield OTHER_TOKENS
        yield from known
        return
    near, far = _odds(capsule, run, at)
    if not known and (near or far):
        yield near or far
    yield from known
    coarse = [p for p in (run.generation.precision, capsule.model.precision) if p != "fp32"]
    if coarse and (known or not far):
        yield (
            f"In {coarse[0]} numbers are coarse: a near tie between two tokens may "
            "fall the other way when the step is shared with other requests."
        )
    if known and near:
        yield near


def _one_begins_the_other(capsule: Capsule, run: Run, at: int) -> Iterator[str]:
    """All tokens of the shorter one are the same, and then it had ended."""
    words = {"cancelled": "it was stopped by hand", "time_limit": "its time was up"}
    then, now = len(capsule.output.ids), len(run.generation.token_ids)
    ends = (capsule.output.finish_reason, _end(run))
    if at == then and ends[0] in words:
        yield f"The capsule's run ended early: {words[ends[0]]}. As far as it got, this one agrees."
    elif at == now and ends[1] in words:
        yield f"This run ended early: {words[ends[1]]}. As far as it got, it agrees."
    elif at in (then, now):
        yield (
            f"One is the beginning of the other: {then:,} tokens then (finish_reason {ends[0]}), "
            f"{now:,} now ({ends[1]})."
        )


def _known(capsule: Capsule, run: Run, now: Surroundings) -> Iterator[str]:
    """What is not as it was, what decides most first."""
    model, generation = capsule.model, run.generation
    given = (capsule.input.ids, capsule.input.begins_with)
    if given != (generation.prompt_ids, run.request.begins_with):
        yield "The model was given other tokens."
    if model.repo_id != generation.model:
        yield f"It is another model: {model.repo_id} then, {generation.model} now."
    elif model.revision != generation.revision:
        yield _was("The model's files are of another commit", model.revision, generation.revision)
    if model.base_revision != now.base_revision:
        yield _was("The base's files are of another commit", model.base_revision, now.base_revision)
    if model.precision != generation.precision:
        yield _was("The precision is another", model.precision, generation.precision)
    yield from _other_controls(capsule, run)
    if model.attention != run.request.attention:
        yield _was("The attention is another", model.attention, run.request.attention)
    yield from _other_versions(capsule, now)
    if capsule.device != now.device:
        yield _was("The device is another", capsule.device, now.device)
    if model.template_sha256 != now.template_sha256:
        yield "The chat template is another; its turn end is among the tokens that end a run."


def _was(what: str, then: object, now: object) -> str:
    return f"{what}: {_shown(then)} then, {_shown(now)} now."


def _shown(value: object) -> str:
    text = str(value)
    is_commit = len(text) == 40 and all(c in "0123456789abcdef" for c in text)
    return text[:10] if is_commit else text or "none"


def _other_controls(capsule: Capsule, run: Run) -> Iterator[str]:
    assert run.generation.params is not None
    then, now = capsule.controls.model_dump(), asdict(run.generation.params)
    greedy = then["temperature"] == now["temperature"] == 0
    for name, value in now.items():
        if value != then[name] and not (greedy and name == "seed"):
            yield _was(f"The control {name} is another", then[name], value)


def _other_versions(capsule: Capsule, now: Surroundings) -> Iterator[str]:
    then = capsule.versions
    names = [n for n in (*now.versions, *then) if then.get(n, "") != now.versions.get(n, "")]
    changed = [
        f"{name} {_shown(then.get(name, ''))} then, {_shown(now.versions.get(name, ''))} now"
        for name in dict.fromkeys(names)
    ]
    if changed:
        yield f"Other versions: {'; '.join(changed)}."


def _odds(capsule: Capsule, run: Run, at: int) -> tuple[str, str]:
    """What this run makes of the capsule's token, where it knows.

    Returns:
        words for a near tie, and words for a token that was hardly possible; one is empty, both
        where neither is so.
    """
    unscored = len(run.generation.token_ids) - len(run.tokens)  # of a branch
    if not unscored <= at < min(len(run.generation.token_ids), len(capsule.output.ids)):
        return "", ""
    taken: ScoredPiece = run.tokens[at - unscored]
    rival = next((a.logprob for a in taken.top if a.id == capsule.output.ids[at]), None)
    if rival is not None and abs(rival - taken.logprob) <= NEAR_TIE_NATS:
        return (
            f"The two tokens were almost equally likely ({math.exp(rival):.1%} and "
            f"{math.exp(taken.logprob):.1%}), so the smallest difference in rounding decides."
        ), ""
    most = rival if rival is not None else min((a.logprob for a in taken.top), default=0.0)
    if math.exp(most) < UNLIKELY:
        return "", (
            f"The capsule's token had a probability below {UNLIKELY:.1%} here, which rounding does "
            "not explain: the capsule was changed since it was saved, or the model's files were."
        )
    return "", ""
