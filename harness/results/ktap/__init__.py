"""Reading what programs print: KTAP, and the forms of the kernel's selftests."""
