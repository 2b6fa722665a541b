"""Addresses as QR codes: a real code for what others can open, words for what they cannot."""

from xml.etree import ElementTree

import pytest
import segno

from gemma_space.ui import qr_code


def svg_of(html: str) -> ElementTree.Element:
    start, end = html.index("<svg"), html.index("</svg>") + len("</svg>")
    return ElementTree.fromstring(html[start:end])


def test_the_code_is_the_addresss() -> None:
    address = "https://somebody-gemma-space.hf.space/"
    drawn = svg_of(qr_code.shown({"address": address}))
    code = segno.make(address, error="m", micro=False)
    expected = ElementTree.fromstring(
        code.svg_inline(scale=4, border=3, dark="#161513", light="#ffffff", omitsize=True)
    )
    paths = [
        [p.get("d") for p in svg.iter() if p.tag.endswith("path")] for svg in (drawn, expected)
    ]
    assert paths[0] == paths[1]
    assert drawn.get("viewBox")


def test_the_address_is_told_too_and_is_text() -> None:
    html = qr_code.shown({"address": "http://demo.example:7860/a&b<i>"})
    assert "<p>demo.example:7860/a&amp;b&lt;i&gt;</p>" in html


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:7860/",
        "http://localhost:7860/",
        "http://[::1]:7860/",
        "http://a.localhost/",
    ],
)
def test_an_address_of_this_machine_alone_is_no_code(address: str) -> None:
    html = qr_code.shown({"address": address})
    assert "svg" not in html
    assert "this machine alone" in html


@pytest.mark.parametrize(
    "told",
    [None, {}, {"address": 3}, {"address": "javascript:alert(1)"}, {"address": "http://"},
     {"address": "http://" + "a" * 400}, {"address": "http://[bad/"}, {"address": "http://a/\n"}],
)  # fmt: skip
def test_what_is_no_web_address_is_nothing(told: object) -> None:
    assert qr_code.shown(told) == ""
