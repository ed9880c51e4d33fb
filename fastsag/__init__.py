"""FastSAG: a voice goes in, a band comes out (Chen et al., IJCAI 2024, and beyond)."""
