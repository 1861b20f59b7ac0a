"""A node beside a PACS: receives radiographs, predicts them, and sends the results back."""
