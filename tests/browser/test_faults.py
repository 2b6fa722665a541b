"""What goes wrong around a page: its browser goes."""

# What is over sooner would not be cut off: almost all that the context has room for.
TOKENS = 8000
PATIENCE_SECONDS = 60
