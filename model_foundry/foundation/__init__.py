"""Files, locks, processes, random states and the machine: nothing here knows of experiments."""
