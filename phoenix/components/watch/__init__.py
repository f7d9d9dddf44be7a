"""The watch: what puts each host's checks under a timer, and what takes their reports."""
