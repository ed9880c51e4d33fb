"""Training: one Lightning loop, one module for each thing that is trained."""
