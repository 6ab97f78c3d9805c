"""The web reader: runs of r1rl, and of others, looked at in a browser while they train and afterwards.

It shows the figures of `r1rl.aha.figures` and the annotations of `r1rl.aha.detect`, and computes none of its own.
"""
