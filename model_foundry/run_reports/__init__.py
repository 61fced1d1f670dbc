"""The appearance of a run: while it trains, and from its directory later. No torch."""
