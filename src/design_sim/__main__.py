"""`python -m design_sim`: the command line, where its script is not on the path."""

from design_sim.cli import main

if __name__ == "__main__":
    main()
