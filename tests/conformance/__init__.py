"""The tests of what the RFCs demand, named by section."""
