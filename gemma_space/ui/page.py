"""The whole page: header, sidebar, tabs, and how it is launched.

Puts the parts together. Decides nothing else.
"""

from typing import Any

import gradio as gr

from gemma_space.assets import ASSETS, examples
from gemma_space.catalog import Checkpoint
from gemma_space.precision_report import PrecisionReports
from gemma_space.settings import Settings
from gemma_space.ui import chat_tab, compare_tab, models_tab
from gemma_space.ui.about import terms_notice
from gemma_space.ui.access_lines import AccessLines
from gemma_space.ui.access_panel import AccessPanel
from gemma_space.ui.choosing import Choosing
from gemma_space.ui.conversations import Conversations
from gemma_space.ui.events import listen
from gemma_space.ui.model_panel import ModelPanel
from gemma_space.ui.models_tab import ModelsTab
from gemma_space.ui.prompt_tab import PromptTab
from gemma_space.ui.report_tab import ReportTab
from gemma_space.ui.scripted import head, scripted
from gemma_space.ui.theme import GemmaSpaceTheme
from gemma_space.use_cases import UseCases

STYLES = ("style", "models", "access", "presets", "tokens", "xray", "prompt", "compare", "about",
          "report", "view")  # fmt: skip
DEPLOYER_NOTE = (
    '<p role="note">Gated models run here on the host\'s own Hugging Face access; '
    "the models' licences apply to what you do with them.</p>"
)


def build(playground: UseCases, settings: Settings) -> None:
    """Build the page inside the `gr.Blocks` at hand."""
    lends = settings.access == "deployer"
    with gr.Sidebar(elem_id="sidebar", width=320):
        panel = ModelPanel.build(playground)
        access = AccessLines.build(playground.library, panel, playground.default_model, lends)
        who = AccessPanel.build(playground.visitors, settings.signs_in)
        kept = Conversations()
    with gr.Row(elem_id="header"):
        wordmark = (ASSETS / "wordmark.svg").read_text(encoding="utf-8")
        gr.HTML(f"<h1>{wordmark}</h1>", elem_id="wordmark", apply_default_css=False)
        # Somebody new to a Space came to chat; who runs it themselves came to look inside.
        usual = "simple" if settings.space_id else "expert"
        scripted(f"GemmaSpace.view.mount(element, '{usual}');", elem_id="view-switch")
        scripted("GemmaSpace.mountThemeToggle(element);", elem_id="theme-toggle")
    if lends:
        gr.HTML(DEPLOYER_NOTE, elem_id="deployer-note")
    # Tabs are mounted when they are opened; a link opens one.
    followed = scripted("GemmaSpace.link.mount(trigger);", visible="hidden")
    with gr.Tabs(selected="chat", elem_id="tabs") as tabs:
        chat = gr.Tab("Chat", id="chat", elem_id="chat-tab")
        with gr.Tab("Prompt", id="prompt"):
            prompt = PromptTab(playground, panel, tabs, followed)
        with gr.Tab("Compare", id="compare") as opened:
            compared = compare_tab.build(playground, prompt.widgets.bench, opened)
        with chat:  # a reply's prompt can be taken to the tab beside it
            replies = chat_tab.build(playground, panel, kept, tabs, examples(), prompt.target)
        first = playground.library.find(playground.default_model)
        reports = _reports(playground, panel, first, settings)
        with (
            gr.Tab("Models", id="models") as tab,
            gr.Column(elem_id="models"),
        ):
            models = ModelsTab.build(playground.library, tab, first, lends)
    notice = terms_notice(
        row
        for row in playground.library.choices()
        if lends or (row.is_local and not settings.own_machine)
    )
    if notice:
        gr.HTML(notice, elem_id="terms-notice")
    choosing = Choosing(playground, panel, (panel.card, models.card))
    changes = choosing.wire(uses=[*replies, *prompt.wire(), *compared, *reports])
    prompt.wire_files(choosing)
    models_tab.wire(
        models, choosing, access, tabs, [*(event.then for event in changes), who.changed.change]
    )
    who.wire()
    models.about.wire(playground.library, panel.chosen, [who.changed.change])
    choosing.wire_access(access.wire(), who.changed.change)
    # On a phone the sidebar opens over the page; nobody came for that.
    listen([], None, js="() => { GemmaSpace.closeSidebarOnPhone(); GemmaSpace.drafts.mount(); }")


def _reports(
    playground: UseCases, panel: ModelPanel, first: Checkpoint, settings: Settings
) -> list[Any]:
    """The Precision tab, where whole predictions can be compared: in this process alone.

    Returns:
        the events that use a model.
    """
    if playground.library.is_remote or settings.zero_gpu:
        return []
    with gr.Tab("Precision", id="precision"), gr.Column(elem_id="precision-tab"):
        reports = PrecisionReports(playground.library, settings.max_time or None)
        return ReportTab.build(reports, playground.library, panel, first).wire()


def launch_options() -> dict[str, Any]:
    """What `launch()` needs for this page's look and scripts."""
    return {
        "theme": GemmaSpaceTheme(),
        "css_paths": [ASSETS / f"{name}.css" for name in STYLES],
        "head": head(ASSETS / "js"),
        "favicon_path": ASSETS / "icon.svg",
    }
