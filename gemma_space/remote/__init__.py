"""Generating on other servers: OpenAI-compatible ones, named by their addresses."""
