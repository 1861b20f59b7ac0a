"""What looks at the outcome of a row: functions of the row and the workshop, named in rows.toml."""
