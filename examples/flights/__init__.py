"""Flight delays: real flights of 2013, three trained versions, replayed traffic with delayed labels."""
