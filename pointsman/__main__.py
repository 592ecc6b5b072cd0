"""`python -m pointsman`: the same as the command `pointsman`."""

from pointsman.main import main

main()
