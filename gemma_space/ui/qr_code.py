"""An address as a QR code, drawn as SVG. No Gradio; nothing is fetched.

Knows which addresses others can open.
"""

import ipaddress
from collections.abc import Mapping
from html import escape
from urllib.parse import urlsplit

import segno

MAX_ADDRESS = 300
ONLY_HERE = "This address works on this machine alone; others cannot open it."


def shown(told: object) -> str:
    """HTML for what the browser told as `{"address": …}`; empty where that is no web address."""
    address = told.get("address") if isinstance(told, Mapping) else None
    if not isinstance(address, str) or len(address) > MAX_ADDRESS or not address.isprintable():
        return ""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    if _only_here(host):
        return f'<p class="hint">{ONLY_HERE}</p>'
    name = escape(address.partition("://")[2].rstrip("/"))
    return f'<div role="img" aria-label="QR code: {name}">{draw(address)}</div><p>{name}</p>'


def draw(address: str) -> str:
    """The code as an SVG element, dark on light whatever the page's colours: scanners want that."""
    code = segno.make(address, error="m", micro=False)
    return code.svg_inline(
        scale=4, border=3, dark="#161513", light="#ffffff", omitsize=True, svgclass="qr"
    )


def _only_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
