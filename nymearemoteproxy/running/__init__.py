"""From the command line to a service: settings, their meaning, the parts they make, their life.

This is the only folder that knows all the others. It must not know how they do what they do.
"""
