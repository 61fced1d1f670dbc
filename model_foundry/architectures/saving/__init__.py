"""Model directories: the format of this package and that of transformers."""
