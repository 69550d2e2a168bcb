"""What may be sent or asked now, shared by all replicas: rate limits, holds, circuit breakers, and the fair order of
clients."""
