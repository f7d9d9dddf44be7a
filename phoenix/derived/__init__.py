"""What follows from a Site: routes, DNS, firewall, certificates. Pure functions."""
