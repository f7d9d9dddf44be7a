"""What a person had on a host in the place that Phoenix takes, and what becomes of it."""
