"""What the five source projects do, row by row, and what shows that Thorax does it."""
