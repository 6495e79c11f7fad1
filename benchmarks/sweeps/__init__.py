"""What each tuned constant of the engine is worth: one file a constant or two, `benchmarks/tuning.py` runs them."""
