"""Examples: reading, splitting, drawing negatives, batching."""
