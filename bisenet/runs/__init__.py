"""Runs: what one is, its training and record, what many will cost, and where a number comes from."""
