"""Documents of a corpus: split into texts, selected, sampled, changed by interventions."""
