"""Text that goes into a table which a spreadsheet may open."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def cell(text: str) -> str:
    """The text as no spreadsheet takes it for a formula: what begins like one gets a quote."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text
