"""What is evaluated, read from files; the only part of `evaluation` that opens any."""
