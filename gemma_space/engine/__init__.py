"""Engines: prompt ids in, one chunk per token out. They know no text, no template, no page."""
