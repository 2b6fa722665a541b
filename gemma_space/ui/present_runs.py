"""Runs and what is to be said about a prompt, as words and HTML. Pure functions; no Gradio.

Knows how a run reads in a list and how advice reads. Does not know where they are shown.
"""

from html import escape

from gemma_space.capsule import Capsule
from gemma_space.replay import Comparison
from gemma_space.runs import Inspection, Run, Runs
from gemma_space.types import FinishReason, Generation, Scoring
from gemma_space.ui import present

NO_TOKENS = '<p class="hint">Run the prompt, or score it, to see its tokens here.</p>'
NO_TOKEN_CAME = '<p class="reply-line">Stopped before the first token.</p>'
LABEL_CHARACTERS = 48


def advice(found: Inspection) -> str:
    """What a prompt probably gets wrong, and what is special about it, as HTML."""
    told = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.warnings)
    exact = (
        '<p class="hint">These are the exact tokens that were taken over. Once you change the '
        "text, it is read anew.</p>"
        if found.exact
        else ""
    )
    return exact + (f'<ul class="advice" role="status">{told}</ul>' if told else "")


def labels(runs: Runs) -> list[str]:
    """One line for each run, all of them different."""
    return [f"{number}. {label(run)}" for number, run in enumerate(runs.kept, start=1)]


def label(run: Run) -> str:
    """A run in a line: how it came about, what came, why it ended."""
    generation = run.generation
    given = len(run.request.begins_with)
    words = " ".join(generation.text.split())
    text = words[:LABEL_CHARACTERS] + ("…" if len(words) > LABEL_CHARACTERS else "")
    reason = _ended(generation.finish_reason or "cancelled", run.failed).lower()
    branch = f"other token at {given:,}: " if given else ""
    return f"{branch}“{text}” · {reason} · {_name(generation)} · {generation.precision}"


def own_choices(run: Run) -> set[int]:
    """Which tokens somebody chose in place of the model."""
    unscored = len(run.generation.token_ids) - len(run.tokens)  # of a replayed branch
    at = len(run.request.begins_with) - unscored - 1
    return {at} if run.request.begins_with and at >= 0 else set()


def score_footer(scoring: Scoring) -> str:
    """How far a score is, and at its end what it says, as HTML."""
    done = len(scoring.tokens)
    words = [f"{done:,} of {scoring.total_tokens:,} tokens scored", scoring.precision]
    if scoring.perplexity is not None:
        words.insert(1, f"perplexity {scoring.perplexity:.4g}")
    reason = _NO_REASON if done < scoring.total_tokens else ""
    shown = "".join(f'<span class="stat">{escape(word)}</span>' for word in words)
    told = "".join(f'<p class="reply-note">{escape(note)}</p>' for note in scoring.notes)
    return f'<div class="reply-footer"><p class="reply-line">{reason}{shown}</p>{told}</div>'


def comparison(found: Comparison) -> str:
    """How a replay came out, as HTML."""
    if found.identical:
        return '<p class="replayed same" role="status"><b>Identical</b>, token by token.</p>'
    words = ["<b>Not the same.</b>"]
    if found.at is not None:
        then = f"“{found.then.text}” ({found.then.id})" if found.then else "the end"
        now = f"“{found.now.text}” ({found.now.id})" if found.now else "the end"
        words.append(escape(f"The first token that differs is number {found.at + 1:,}: it was "
                            f"{then}, now it is {now}."))  # fmt: skip
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in found.reasons)
    return (
        f'<div class="replayed" role="status"><p>{" ".join(words)}</p>'
        f"<p>Likely why:</p><ul>{reasons}</ul></div>"
    )


def opened(kept: Capsule) -> str:
    """What a capsule says of itself, as HTML."""
    model = kept.model
    words = (
        f"Opened: {model.repo_id} at {model.revision[:12]} in {model.precision}, "
        f"{len(kept.output.ids):,} tokens, made {kept.created:%Y-%m-%d %H:%M} UTC on "
        f"{kept.device}."
    )
    return f'<p class="hint" role="status">{escape(words)} Press Replay to run it again.</p>'


def completion_footer(generation: Generation, failed: bool = False) -> str:
    """The Prompt tab's footer, as HTML; without a reason while the completion grows.

    Args:
        failed: an error broke it off.
    """
    finished = generation.finish_reason
    reason = _reason(finished, failed) if finished else _NO_REASON
    made_by = f"{_name(generation)} · {generation.precision} · seed {generation.seed}"
    words = (*present.stats(generation), made_by)
    shown = "".join(f'<span class="stat">{escape(word)}</span>' for word in words)
    told = "".join(f'<p class="reply-note">{escape(note)}</p>' for note in generation.notes)
    return f'<div class="reply-footer"><p class="reply-line">{reason}{shown}</p>{told}</div>'


def settled_footer(footer: str | None) -> str:
    """A footer once nothing more comes: one that has no reason was stopped by the visitor."""
    text = footer or ""
    if present.LOAD in text:
        return NO_TOKEN_CAME
    return text.replace(_NO_REASON, _reason("cancelled"))


_NO_REASON = '<span class="reason"></span>'


def _reason(finished: FinishReason, failed: bool = False) -> str:
    return f'<span class="reason reason-{finished}">{_ended(finished, failed)}</span>'


def _ended(finished: FinishReason, failed: bool) -> str:
    return present.FAILED if failed else present.REASONS[finished]


def _name(generation: Generation) -> str:
    return generation.model.rpartition("/")[2]


def token_meter(count: int, limit: int, reserved: int) -> str:
    """How much of the context window a prompt takes beside what is kept for the completion."""
    room = max(0, limit - reserved)
    words = f"{count:,} of {limit:,} tokens"
    if count > room:
        words += f"; only {room:,} fit beside the {reserved:,} kept for the completion"
    return present.meter(count, limit, words, count > room)
