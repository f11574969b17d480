"""The later generation of the ABI, which no kernel of this bench has: headers and a stand-in."""
