"""Gemma Space: a playground for Google's Gemma checkpoints. Importing it does nothing."""
