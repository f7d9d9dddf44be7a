"""The command `phoenix`: what an operator needs around pyinfra. One module a verb."""
