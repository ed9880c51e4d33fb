"""Outputs of the published implementation (chenjianyi/fastsag, b98b83b) with made-up weights."""
