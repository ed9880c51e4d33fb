"""FastSAG: a voice goes in, a band comes out (Chen et al., IJCAI 2024, and beyond)."""

from fastsag.model import FastSAG
from fastsag.pipeline import Accompanist
from fastsag.take import Accompaniment, Settings
from fastsag.version import __version__

__all__ = ["Accompaniment", "Accompanist", "FastSAG", "Settings", "__version__"]
