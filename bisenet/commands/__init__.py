"""The commands of `python -m bisenet`: for each its flags, and what it does."""
