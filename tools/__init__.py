"""What developers of this project run by hand; no part of the app."""
