"""Linear mixed models by REML, many replicates at once.

Decision: what goes into a fit and what comes out has the replicate axis first, as everywhere. In between, the
small matrices of every replicate (columns, variance ratios) have it last, since arithmetic on few columns and
many replicates is four times as fast that way round.
"""
