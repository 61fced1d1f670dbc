"""Documents as token ids: encoded once, cached by content, read through memory maps."""
