"""Judging audio, blind to who made it."""
