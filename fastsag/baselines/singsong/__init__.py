"""SingSong (Donahue et al. 2023) as the paper rebuilt it: three language models of tokens."""
