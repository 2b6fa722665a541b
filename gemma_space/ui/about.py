"""The fold "About this model": what the checkpoint's card says, and the terms it comes under.

Knows how a card reads as HTML and which component shows it. The data, and whose they are, are in
`cards`; charts and tables in `figures`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from gemma_space import cards, hub
from gemma_space.cards import About, Item, License, Link, Table
from gemma_space.catalog import Checkpoint
from gemma_space.library import Library
from gemma_space.ui import figures
from gemma_space.ui.events import Updates, Values, listen

WITHOUT_CARD = "This is what the Gemma 2 card prints, which names Gemma as a whole."
EARLIER = "What the cards of Gemma 1 and 2 say of their models; this model's own card decides."


# --- the card as HTML ---------------------------------------------------------------------------


def about_model(row: Checkpoint, lends: bool = False) -> str:
    """All there is to say of a checkpoint, as HTML.

    Args:
        lends: the host's own access serves everybody, so that its visitors are users of a hosted
            model.
    """
    about = cards.about(row)
    notice = terms_notice([row]) if lends else ""
    return f'<div class="about-card">{notice}{_introduction(row, about)}{_card(row, about)}</div>'


def _introduction(row: Checkpoint, about: About) -> str:
    told = [_whose(row, about)]
    if about.card is not None and about.named:
        told += [*about.card.description, _without_figures(about)]
    shown = "".join(f"<p>{escape(sentence)}</p>" for sentence in told if sentence)
    return shown + _to_the_hub(about)


def _whose(row: Checkpoint, about: About) -> str:
    subject = about.subject
    if about.card is None:
        return f"No card for {subject.title} is kept here."
    if not about.named:
        whose = "" if subject is row else f"{row.title} is an adapter. "
        return (
            f"{whose}The files of {subject.title} have the architecture of {about.card.title}. "
            "Whose weights they are cannot be told from that, so no figures are shown."
        )
    if subject is not row:
        return f"{row.title} is an adapter; this is about what it attaches to, {subject.title}."
    return ""


def _without_figures(about: About) -> str:
    """Why there is no chart; empty where there is one."""
    if about.card is None or about.card.source == "project" or about.tables:
        return ""
    if about.card.source == "earlier":
        return "Its own card is not kept here, so there are no figures."
    return "The card kept here has no figures for this size."


def _to_the_hub(about: About) -> str:
    if about.subject.is_local or about.subject.is_remote:
        return ""
    page = _anchor("The whole card on the Hub", hub.repo_url(about.subject.repo_id))
    return f'<p class="about-hub">{page}</p>'


def _card(row: Checkpoint, about: About) -> str:
    texts, card = cards.data().texts, about.card
    parts = [_figures(row, about)]
    no_card_but_gemma = card is None and about.subject.license == cards.GEMMA
    if no_card_but_gemma or (card is not None and card.source != "project"):
        note = "" if card and card.source == "card" and about.named else EARLIER
        parts += [
            _fold("Intended use", _list(texts.intended_use), note),
            _fold("Limitations", _list(texts.limitations), note),
            _fold(
                "Risks and what to do about them",
                _list(texts.considerations) + _list(texts.risks), note,
            ),
        ]  # fmt: skip
    if card is not None and about.named:
        parts += [
            _fold("Training data", _points(card.training)),
            _fold("Where copies of the card disagree", _points(card.disagreements)),
        ]
    parts += [_fold("Terms", _terms(about)), _citation(about)]
    return "".join(parts)


def _citation(about: About) -> str:
    if not about.citation:
        return ""
    entry = f'<pre tabindex="0" aria-label="BibTeX"><code>{escape(about.citation)}</code></pre>'
    return _fold("Citation", entry, about.card.citation_note if about.card else WITHOUT_CARD)


# --- its parts ----------------------------------------------------------------------------------


def _figures(row: Checkpoint, about: About) -> str:
    shown = [
        figures.figure(table, _measured(row, about, table), about.size,
                       unfolded=table.kind == "benchmarks")
        for table in about.tables
    ]  # fmt: skip
    shown += [
        figures.figure(table, f"For comparison: {table.release}.", unfolded=False)
        for table in about.compared
    ]
    if any(table.kind == "safety" for table in about.tables):
        shown.append(
            _fold("How safety was evaluated", _points(cards.data().texts.safety_evaluation))
        )
    return "".join(shown)


def _measured(row: Checkpoint, about: About, table: Table) -> str:
    """What these figures are to the chosen checkpoint."""
    base = about.subject.variant == "base"
    if table.measured_on == "pre-trained":
        told = (
            f"Measured on the pre-trained models; the {about.size} one is this."
            if base
            else "Measured on the pre-trained models, before instruction tuning. Of the tuned ones "
            f"the card has no such figures; this model was made from the {about.size} one."
        )
    elif base:
        told = "Measured on the instruction-tuned models, not on the pre-trained one chosen here."
    else:
        told = f"Measured on the instruction-tuned models; the {about.size} one is this."
    if about.subject.quantization:
        told += f" The figures are the original's, not those of this {_bits(about)}-bit copy."
    elif about.subject is not row:
        told += " The figures are without the adapter."
    return told


def _bits(about: About) -> str:
    return (about.subject.quantization or "").removeprefix("int")


def _terms(about: About) -> str:
    links = about.card.links if about.card and about.named else ()
    *others, last = about.licenses.items()  # of an adapter the base's comes last, as its card's
    told = [*(_licence(name, found) for name, found in others), _licence(*last, links)]
    return "".join(told)


def _licence(name: str, found: License | None, more: Sequence[Link] = ()) -> str:
    if found is None:
        shown = escape(name or "not named")
        return f"<p>Licence: {shown}. What it asks is on the model's own page.</p>"
    links = "".join(f"<li>{_link(link)}</li>" for link in (*found.links, *more))
    return f"<p>{escape(found.name)}.</p>{_points(found.summary)}<ul>{links}</ul>"


def _fold(title: str, inside: str, note: str = "") -> str:
    if not inside:
        return ""
    told = f'<p class="hint">{escape(note)}</p>' if note else ""
    return f"<details><summary>{escape(title)}</summary>{told}{inside}</details>"


def _list(items: Sequence[Item]) -> str:
    points = "".join(f"<dt>{escape(item.title)}</dt><dd>{escape(item.text)}</dd>" for item in items)
    return f"<dl>{points}</dl>"


def _points(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _link(link: Link) -> str:
    return _anchor(link.title, link.url)


def _anchor(title: str, address: str) -> str:
    return f'<a href="{escape(address)}" target="_blank" rel="noopener">{escape(title)}</a>'


def terms_notice(rows: Iterable[Checkpoint]) -> str:
    """What Gemma's terms want to be told wherever somebody serves its gated weights to others.

    Args:
        rows: what the host serves by their own access or from their own folders; the notice is
            empty where none of it, nor what it attaches to, comes under Gemma's terms.
    """
    if not any(map(_is_gemma, rows)):
        return ""
    texts = cards.data().texts
    terms, policy = texts.licenses["gemma"].links[:2]
    address = terms.url.removeprefix("https://")
    told = escape(f"{texts.notice.quote}. {texts.notice.restrictions}")
    told = told.replace(address, _anchor(address, terms.url)).replace(policy.title, _link(policy))
    return f'<div class="terms-notice" role="note"><p>{told}</p></div>'


def _is_gemma(row: Checkpoint) -> bool:
    """A folder has no gate: whoever serves it passed the one it came from."""
    own = row.license == cards.GEMMA and (row.gated or row.is_local)
    return own or (row.base is not None and _is_gemma(row.base))


# --- the component ------------------------------------------------------------------------------


@dataclass(frozen=True)
class AboutModel:
    """The fold, which stays open or closed while models are chosen."""

    shown: gr.HTML
    lends: bool

    @classmethod
    def build(cls, first: Checkpoint, lends: bool) -> "AboutModel":
        """Lay the fold out, closed, on the model that is chosen first."""
        with gr.Accordion("About this model", open=False, elem_id="about-card"):
            shown = gr.HTML(about_model(first, lends), apply_default_css=False)
        return cls(shown, lends)

    def wire(self, library: Library, chosen: gr.Textbox, changed: Sequence[Any] = ()) -> None:
        """Follow the chosen model.

        Args:
            chosen: holds its name.
            changed: what else triggers, such as another token, with which it may be unknown.
        """

        def on_chosen(values: Values) -> Updates:
            row = library.find(values[chosen], values.token)
            return {self.shown: about_model(row, self.lends)}

        def unknown(_text: str, _values: Values) -> Updates:
            return {self.shown: ""}

        listen(
            [chosen.change, *changed], on_chosen, {chosen}, [self.shown],
            on_error=unknown, trigger_mode="always_last",
        )  # fmt: skip
