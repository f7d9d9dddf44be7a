"""Small stand-ins for the images of the two stacks, for machines without a registry."""
