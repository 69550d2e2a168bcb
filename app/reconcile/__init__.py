"""A callback is missing: ask the vendor, within the rate, and let time act."""
