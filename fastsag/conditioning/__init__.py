"""Vocals -> frame-aligned condition of the denoiser (paper section 4.2, Figure 1 b)."""
