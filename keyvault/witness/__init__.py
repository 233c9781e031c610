"""The outside witness: it cosigns the log's checkpoints, and never two that contradict.

It runs elsewhere, under other hands, and shares with the service nothing but formats.
"""
