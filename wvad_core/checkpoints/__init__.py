"""Checkpoint files: their formats, a safe unpickler, and the identification of what they hold."""
