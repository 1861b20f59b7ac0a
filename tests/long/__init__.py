"""Long runs that are started by hand; `test-all` runs a short form of each."""
