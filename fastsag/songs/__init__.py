"""Procedural songs with ground truth: composed, arranged, played and sung by this package."""
