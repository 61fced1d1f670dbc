"""One training loop for every architecture and objective, and its parts."""
