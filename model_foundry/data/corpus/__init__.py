"""Documents of a corpus: selection, splits, interventions, samples."""
