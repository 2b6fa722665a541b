"""The page: one module per part, one door to events, and pure functions that choose the words."""
