"""A few training steps under torch's profiler, summed up."""
