"""What the notebooks share, and the notebooks as a batch."""
