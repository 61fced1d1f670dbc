"""The training loop, shared by all architectures and objectives, and its parts."""
