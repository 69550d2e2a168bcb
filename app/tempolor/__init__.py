"""All knowledge of TemPolor: its kinds, its wire format, its codes, its HTTP interface."""
