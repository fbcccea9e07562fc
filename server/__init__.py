"""The hub: relay, Flower coordination, identity. Knows no row of any partner."""
