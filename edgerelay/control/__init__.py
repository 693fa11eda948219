"""What an operator asks of a running relay, and how the answer travels."""
