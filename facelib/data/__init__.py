"""Photos: where they come from, how they become faces."""
