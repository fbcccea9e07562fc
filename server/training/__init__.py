"""Joint training at the hub: Flower as coordinator, one message per phase and partner."""
