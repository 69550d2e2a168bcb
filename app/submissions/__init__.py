"""A task is sent once: accepted, claimed within the limits, submitted, and its outcome settled."""
