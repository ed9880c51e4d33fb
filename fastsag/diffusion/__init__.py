"""Rough mel -> mel: EDM diffusion (Karras et al. 2022; paper sections 3 and 4.3).

Network, preconditioning, noise levels and sampler are four separate things.
"""
