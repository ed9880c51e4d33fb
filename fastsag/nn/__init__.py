"""Blocks without opinions: WaveNet, Perceiver-IO, attention and embeddings, free of audio terms."""
