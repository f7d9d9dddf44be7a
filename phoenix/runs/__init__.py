"""pyinfra runs as the command line sees them: started, followed live, told in typed results."""
