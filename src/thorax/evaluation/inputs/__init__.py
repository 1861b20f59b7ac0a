"""Reading labels, predictions and reports from files for evaluation."""
