"""What is true of tasks and items: pure functions and values, with no I/O, no clock and no log."""
