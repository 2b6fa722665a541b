"""Timing claims, measured as ratios against a named baseline in one run. Not part of the tests."""
