"""Linear mixed models by REML, many replicates at once."""
