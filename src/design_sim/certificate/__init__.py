"""The calibration certificate: how often each answer rejects a true null, where clusters are few and many.

`entries` is the table of what is certified, `trials` runs it, `verdicts` reads its numbers, `page` says them,
`files` writes them, and `cited` is the copy that the program itself reads.
"""
