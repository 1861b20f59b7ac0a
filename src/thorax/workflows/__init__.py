"""What each command does, as plain functions with plain results."""
