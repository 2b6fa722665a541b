"""Makes the demo checkpoint: a written corpus in, `assets/demo-model/` out.

Run `python -m training` from the repository root. Nothing in the app imports this package.
"""
