"""Arithmetic on batches of replicates; knows no study."""
