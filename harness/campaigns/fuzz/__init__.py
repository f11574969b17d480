"""Random scripts of system calls and instructions, whose traces must be the same in each cell."""
