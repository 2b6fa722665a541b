"""Components that the page's own scripts draw, and how the scripts reach the browser.

Knows the order of the scripts. Does not know what they draw.
"""

import json
from pathlib import Path
from typing import Any

import gradio as gr

SCRIPTS = (
    "shell",
    "view",
    "store",
    "transfer",
    "conversations",
    "access",
    "models",
    "presets",
    "link",
    "capsule",
    "compare",
    "tokens",
    "xray",
    "report",
    "drafts",
    "assistive",
)  # a later one uses an earlier one


def scripted(js_on_load: str, **props: Any) -> gr.HTML:
    """A place for a script to draw in; Gradio puts nothing there itself."""
    return gr.HTML(
        "",
        html_template="<div></div>",
        apply_default_css=False,
        js_on_load=js_on_load,
        **props,
    )


def clickable(value: str, elem_class: str) -> gr.HTML:
    """HTML from a handler whose precision buttons select: `select` tells which was pressed."""
    return gr.HTML(
        value,
        apply_default_css=False,
        elem_classes=elem_class,
        js_on_load="GemmaSpace.models.choose(element, trigger);",
    )


def heard(js: str, mounted: str = "") -> gr.HTML:
    """An unseen output: `js` runs whenever a handler sets it, with the value in `props.value`.

    `mounted` runs once, before.
    """
    return gr.HTML(
        "",
        html_template="<span></span>",
        visible="hidden",
        js_on_load=f"{mounted} watch('value', () => {{ {js} }});",
    )


def for_script(facts: object) -> str:
    """JSON for a script, as an HTML component's value or inside one's code.

    Gradio warns of markup there; in JSON a `<` can be spelled out.
    """
    return json.dumps(facts).replace("<", "\\u003c")


def head(folder: Path) -> str:
    """The scripts, inline: no extra requests, and no server path in any address."""
    parts = ["window.GemmaSpace = {};"]
    parts += [(folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(f"<script>\n{part}\n</script>" for part in parts)
