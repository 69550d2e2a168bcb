"""What every process needs: clock and ids, loops, concurrency limits, logs, metrics, traces."""
