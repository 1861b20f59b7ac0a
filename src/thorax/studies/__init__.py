"""Studies: recipes x seeds x splits x settings under one protocol, and one leaderboard."""
