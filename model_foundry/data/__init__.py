"""From text to batches: `sources` reads and splits, `packing` tokenises, `loaders` batch."""
