"""What is shown with a link to the page: a title, a sentence and, of a Space, a picture.

Gradio's page comes with a card of Gradio's own, which no option changes: here it is replaced. The
address of a picture must be absolute, so only a Space has one, which knows its owner and name.
"""

import re
from html import escape

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PICTURE = "assets/thumbnail.png"
SENTENCE = "Try any Gemma checkpoint and see what it did, and why"
_TAG = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
_END_OF_HEAD = b"<script"  # what follows is as long as the whole page's configuration


def picture_address(space_id: str) -> str:
    """Where the picture of a Space is.

    Args:
        space_id: `owner/name`.
    """
    return f"https://huggingface.co/spaces/{space_id}/resolve/main/{PICTURE}"


class LinkCard:
    """Puts the card into every page.

    Args:
        title: of the page.
        space_id: `owner/name` of the Space that serves it; empty elsewhere.
    """

    def __init__(self, app: ASGIApp, title: str, space_id: str = "") -> None:
        self._app = app
        told = {"og:type": "website", "og:title": title, "og:description": SENTENCE}
        if space_id:
            told["og:image"] = picture_address(space_id)
        tags = [
            f'<meta property="{name}" content="{escape(said)}" />' for name, said in told.items()
        ]
        tags.append('<meta name="twitter:card" content="summary_large_image" />')
        self._tags = "\n".join([*tags, ""]).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None
        page = bytearray()

        async def send_carded(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
            elif start is None:
                await send(message)
            else:
                page.extend(message.get("body", b""))
                if not message.get("more_body"):
                    whole = self._carded(bytes(page))
                    MutableHeaders(scope=start)["Content-Length"] = str(len(whole))
                    await send(start)
                    await send({"type": "http.response.body", "body": whole})

        asked = scope["type"] == "http" and scope["method"] == "GET"
        await self._app(scope, receive, send_carded if asked else send)

    def _carded(self, page: bytes) -> bytes:
        head, mark, rest = page.partition(_END_OF_HEAD)
        first = _TAG.search(head)
        if first is None:
            return page
        before, after = head[: first.start()], head[first.start() :]
        return before + self._tags + _TAG.sub(b"", after) + mark + rest


def _is_page(message: Message) -> bool:
    return MutableHeaders(scope=message).get("content-type", "").startswith("text/html")
