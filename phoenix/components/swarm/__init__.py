"""The site's Docker Swarm."""
