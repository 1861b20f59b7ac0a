"""What `make fuzz` reads, one module per kind of input; each imports only what its kind needs."""
