"""A task as clients see it: the JSON of the contract, made of what is stored."""
