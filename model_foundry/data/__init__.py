"""From files to batches: `sources`, then `corpus`, then `tokens`, then `batches`."""
