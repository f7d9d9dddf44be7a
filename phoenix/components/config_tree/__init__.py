"""A component's files as one tree, and the script that installs it on a guest."""
