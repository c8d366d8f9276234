"""Plan an evaluation by simulation."""
