"""pyinfra runs as the command line sees them: started, followed live, with typed results."""
