"""What a site is: the frozen model, its names, roles, findings and durations."""
